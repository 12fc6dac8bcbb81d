//! What wit-bindgen makes of `wit/`: for the component build alone, and for nobody to call but
//! `crate::wasm` and `register!`.
#![allow(clippy::all, unreachable_pub, reason = "generated code")]

wit_bindgen::generate!({
    world: "all",
    path: "../wit",
    generate_all,
    pub_export_macro: true,
    default_bindings_module: "mintmark_sdk::bindings",
});
