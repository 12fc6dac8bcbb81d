//! A native in-memory host for plugin tests, with the real custody code.
