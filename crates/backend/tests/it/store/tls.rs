//! TLS to PostgreSQL: both sides are authenticated before any data is sent.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};

use waypost_backend::store::{Store, StoreConfig, StoreError};

use super::{count, setting};
use crate::support::certs::Authority;
use crate::support::postgres::{Cluster, unprivileged};
use crate::support::van::free_port;

/// Certificates in a folder that the server can read.
struct Files {
    folder: tempfile::TempDir,
    owner: Option<(u32, u32)>,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let owner = unprivileged(folder.path());
        Self { folder, owner }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        if let Some((user, group)) = self.owner {
            chown(&path, Some(user), Some(group)).unwrap();
        }
    }

    fn certify(&self, authority: &Authority, file: &str, name: &str) {
        let (certificate, key) = authority.certify(name, 2099);
        self.put(&format!("{file}.pem"), &certificate);
        self.put(&format!("{file}.key"), &key);
    }
}

#[tokio::test]
async fn a_server_and_a_client_that_cannot_prove_who_they_are_do_not_meet() {
    let (files, authority, other) = (Files::new(), Authority::new(), Authority::new());
    files.put("ca.pem", &authority.pem);
    files.put("other.pem", &other.pem);
    files.certify(&authority, "server", "localhost");
    files.certify(&authority, "waypost", "waypost");
    files.certify(&authority, "somebody", "somebody");
    files.certify(&other, "false", "waypost");
    files.put("hba", "local all all trust\nhostssl all all 127.0.0.1/32 cert\n");
    let port = free_port();
    let settings = format!(
        "listen_addresses = '127.0.0.1'\nssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'\nssl_ca_file = '{}'\nhba_file = '{}'",
        files.path("server.pem"),
        files.path("server.key"),
        files.path("ca.pem"),
        files.path("hba"),
    );
    let Some(cluster) = Cluster::start_on(port, &settings) else { return };
    let database = cluster.database();
    let url = |host: &str, roots: &str, own: &str| {
        let own = if own.is_empty() {
            String::new()
        } else {
            format!(
                "&sslcert={}&sslkey={}",
                files.path(&format!("{own}.pem")),
                files.path(&format!("{own}.key"))
            )
        };
        let roots = files.path(roots);
        let name = &database.name;
        StoreConfig::Postgres(format!(
            "postgresql://waypost@{host}:{port}/{name}?sslmode=verify-full&sslrootcert={roots}{own}"
        ))
    };
    let store = Store::open(&url("localhost", "ca.pem", "waypost")).await.unwrap();
    store.write(vec![setting("a", "1")]).await.unwrap();
    assert_eq!(count(&store, "setting").await, 1);
    // Columns: host, authority, own certificate, whether the connection succeeds, expected error
    // text.
    for (host, roots, own, passes, words) in [
        ("localhost", "other.pem", "waypost", true, "invalid peer certificate"),
        ("127.0.0.1", "ca.pem", "waypost", true, "not valid for name"),
        ("localhost", "ca.pem", "", false, "client certificate"),
        ("localhost", "ca.pem", "somebody", false, "certificate authentication failed"),
        ("localhost", "ca.pem", "false", true, ""),
    ] {
        let error = Store::open(&url(host, roots, own)).await.unwrap_err();
        assert!(error.to_string().contains(words), "{host} {roots} {own}: {error}");
        assert_eq!(matches!(error, StoreError::Unavailable(_)), passes, "{error:?}");
    }
    let StoreConfig::Postgres(clear) = url("localhost", "ca.pem", "") else {
        unreachable!("it is one")
    };
    let clear = StoreConfig::Postgres(clear.replace("verify-full", "disable"));
    let error = Store::open(&clear).await.unwrap_err();
    assert!(error.to_string().contains("no encryption"), "{error}");
}
