//! http

pub mod files;
pub mod origin;
