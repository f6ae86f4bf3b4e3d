//! http

pub mod files;
