//! The engine on the running kernel (needs root): plans made by hand, exact counts. Only what this process does is
//! recorded, but for the frees of kernel objects.

mod aggregate;
mod filters;
mod functions;
mod interrupts;
mod losses;
mod nested;
mod objects;
mod orders;
mod samples;
mod support;
mod tracepoints;
