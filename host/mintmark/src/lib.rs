//! The mintmark program: command line, configuration, wiring, demo.
