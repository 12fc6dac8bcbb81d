//! The official plugins, as they are built: what they say of themselves, and that they load.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod site;

use mintmark_runtime::{Runtime, RuntimeConfig, inspect};

use site::Site;

#[test]
fn the_official_plugins_import_what_their_manifests_claim_and_no_files_or_sockets() {
    for (component, name) in [
        (mintmark_bundled::ENTITLEMENT, "entitlement"),
        (mintmark_bundled::DEVICE_KEY, "device-key"),
    ] {
        let inspected = inspect(component).unwrap();
        assert_eq!(inspected.manifest.name, name);
        assert!(!inspected.services.is_empty());
        let outside =
            |import: &&String| import.contains("filesystem") || import.contains("sockets");
        assert_eq!(inspected.imports.iter().find(outside), None);
    }
}

#[test]
fn the_tampering_plugin_has_the_name_of_the_real_one_and_another_measurement() {
    let real = inspect(mintmark_bundled::DEVICE_KEY).unwrap();
    let tampering = inspect(mintmark_bundled::danger::DEVICE_KEY_TAMPERING).unwrap();
    assert_eq!(real.manifest, tampering.manifest);
    assert_ne!(real.measurement, tampering.measurement);
}

#[tokio::test]
async fn the_official_plugins_are_installed_activated_and_answer() {
    let site = Site::new().await;
    let config = RuntimeConfig::default();
    let cache = site.cache.try_clone().unwrap();
    let runtime = Runtime::new(site.custody.clone(), config, Some(cache)).unwrap();
    for component in [mintmark_bundled::ENTITLEMENT, mintmark_bundled::DEVICE_KEY] {
        let session = site.session("install", component);
        let measurement = runtime.install(session, component).await.unwrap().measurement;
        runtime.activate(site.session("activate", &measurement), &measurement).await.unwrap();
    }
    assert_eq!(runtime.active().len(), 2);

    // A request without fields: there are no entitlements to list.
    let path = "/mintmark.devicekey.v1.DeviceKey/ListEntitlements";
    let route = runtime.route(path).unwrap();
    let answer = runtime.call(&route, site.session(path, b""), "".into()).await.unwrap();
    assert!(answer.is_empty());
}
