//! Symbols against what the loader, the compiler and `nm` say.
