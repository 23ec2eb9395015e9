//! Plans for very many traces.
