//! What a fleet costs: the hop through another pod, beside the direct way, and the API server's part.
//!
//! Measured on the release binary by `just hop`, for minutes; the figures are in docs/benchmarks.md. What the contract bounds is
//! asserted: memory, writes and annotations. Times are printed only, because they depend on what else the machine does.

mod api;
mod figures;
mod hop;
mod line;
