//! End-to-end tests: stories with real processes, hostile cases by number, house rules.
//!
//! There is nothing here to link; everything is in the test targets.
