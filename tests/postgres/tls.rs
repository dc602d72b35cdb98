//! TLS with every `sslmode`, against a server whose certificate comes from a private authority.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use syncflow_server::conformance::draft::insert;
use syncflow_server::store::postgres::{PostgresOptions, PostgresOptionsError, PostgresStore};
use syncflow_server::store::{Result, Store as _};
use tempfile::TempDir;

use crate::support::postgres_server::PostgresServer;
use crate::support::processes::write_for_server;

/// A server with TLS, and files of certificates to trust.
struct Secured {
    server: PostgresServer,
    directory: TempDir,
}

impl Secured {
    /// Starts a server whose certificate is valid for the name `localhost` and for no address.
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let authority = authority();
        let key = KeyPair::generate().expect("a key can be made");
        let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &authority).expect("a certificate can be signed");
        let server = PostgresServer::start_with(&["ssl=on"], |data| {
            write_for_server(&data.join("server.crt"), certificate.pem());
            write_for_server(&data.join("server.key"), key.serialize_pem());
        })
        .await;
        let secured = Self { server, directory };
        secured.write("ca.pem", &authority.pem());
        secured.write("other.pem", &self::authority().pem());
        secured.write("server.pem", &certificate.pem());
        secured
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).expect("a file can be written");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn options(&self, host: &str, sslmode: &str, ca_file: Option<&str>) -> PostgresOptions {
        let port = self.server.port();
        let url = format!("postgresql://postgres@{host}:{port}/postgres?sslmode={sslmode}");
        PostgresOptions { ca_file: ca_file.map(|name| self.path(name)), ..PostgresOptions::new(&url) }
    }

    async fn check(&self, host: &str, sslmode: &str, ca_file: Option<&str>) -> Result<()> {
        let options = self.options(host, sslmode, ca_file);
        PostgresStore::new(&options).expect("the options are right").check().await
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key can be made")).expect("an authority")
}

/// The server by name and by address.
const NAME: &str = "localhost";
const ADDRESS: &str = "127.0.0.1";

#[tokio::test]
async fn every_sslmode_asks_of_the_certificate_what_it_should() {
    let secured = Secured::start().await;
    for (host, sslmode, ca_file) in [
        (ADDRESS, "disable", None),
        (ADDRESS, "prefer", None),
        (ADDRESS, "require", None),
        (ADDRESS, "require", Some("ca.pem")),
        (ADDRESS, "verify-ca", Some("ca.pem")),
        (NAME, "verify-full", Some("ca.pem")),
        (NAME, "verify-full", Some("server.pem")),
    ] {
        secured.check(host, sslmode, ca_file).await.unwrap_or_else(|error| panic!("{sslmode} {ca_file:?}: {error}"));
    }
    for (host, sslmode, ca_file, reason) in [
        (ADDRESS, "verify-full", "ca.pem", "not valid for name"),
        (ADDRESS, "verify-full", "server.pem", "not valid for name"),
        (NAME, "verify-full", "other.pem", "invalid peer certificate"),
        (NAME, "verify-ca", "other.pem", "invalid peer certificate"),
        (NAME, "require", "other.pem", "invalid peer certificate"),
        (NAME, "prefer", "other.pem", "invalid peer certificate"),
    ] {
        let error = secured.check(host, sslmode, Some(ca_file)).await.expect_err(reason);
        assert!(error.to_string().contains(reason), "{sslmode} {ca_file}: {error}");
    }
}

#[tokio::test]
async fn a_connection_is_encrypted_unless_that_is_disabled() {
    let secured = Secured::start().await;
    let admin = crate::support::postgres::connect(&secured.server.url()).await;
    for (sslmode, is_encrypted) in [("disable", false), ("prefer", true), ("require", true)] {
        let mut options = secured.options(ADDRESS, sslmode, None);
        options.connection_string = format!("{}&application_name={sslmode}", options.connection_string);
        let world = super::world(&options);
        world.apply([insert(sslmode, sslmode)]).await;
        let sql = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                   WHERE application_name = 'syncflow-server' AND query LIKE '%syncflow_commit%'";
        let sql = sql.replace("syncflow-server", sslmode);
        let found: Option<bool> = admin.query_one(&sql, &[]).await.expect("the server knows").get(0);
        assert_eq!(found, Some(is_encrypted), "{sslmode}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_if_tls_is_required() {
    let server = PostgresServer::start(&[]).await;
    let check = async |sslmode: &str| {
        let options = PostgresOptions::new(&format!("{}?sslmode={sslmode}", server.url()));
        PostgresStore::new(&options).expect("the options are right").check().await
    };
    check("prefer").await.expect("it works without");
    let error = check("require").await.expect_err("it is required");
    assert!(error.to_string().contains("does not support TLS"), "{error}");
    assert!(error.to_string().contains("set sslmode=disable"), "{error}");
}

/// An address that leads to this machine but is not a loopback address.
const ELSEWHERE: &str = "0.0.0.0";

/// A server that asks for passwords in clear text. It may have TLS.
async fn curious_server(settings: &[&str]) -> PostgresServer {
    let server = PostgresServer::start_with(settings, |data| {
        let rules = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 password\n";
        write_for_server(&data.join("pg_hba.conf"), rules);
    })
    .await;
    let admin = crate::support::postgres::connect(&server.url()).await;
    let role = "CREATE ROLE guest LOGIN PASSWORD 'hunter2'; GRANT CREATE ON DATABASE postgres TO guest";
    admin.batch_execute(role).await.expect("a role can be made");
    server
}

#[tokio::test]
async fn a_password_is_never_sent_in_clear_to_another_machine() {
    let server = curious_server(&[]).await;
    let check = async |host: &str, sslmode: &str| {
        let url = format!("postgresql://guest:hunter2@{host}:{}/postgres{sslmode}", server.port());
        PostgresStore::new(&PostgresOptions::new(&url)).expect("the options are right").check().await
    };
    for sslmode in ["?sslmode=disable", "?sslmode=allow", "?sslmode=prefer"] {
        let error = check(ELSEWHERE, sslmode).await.expect_err("the password stays here");
        assert!(error.to_string().contains("it was not sent"), "{sslmode}: {error}");
        assert!(error.to_string().contains("set sslmode=verify-full"), "{sslmode}: {error}");
        check(ADDRESS, sslmode).await.expect("only the administrator listens on this machine");
    }
    let error = check(ELSEWHERE, "").await.expect_err("there is no TLS");
    assert!(error.to_string().contains("does not support TLS"), "{error}");
    // A login that sends no password in clear text is allowed.
    let trusted = format!("postgresql://postgres@{ELSEWHERE}:{}/postgres?sslmode=prefer", server.port());
    // The schema belongs to the guest, so this role uses it only if the option is set.
    let options = PostgresOptions { schema: Some("syncflow".to_owned()), ..PostgresOptions::new(&trusted) };
    let store = PostgresStore::new(&options).expect("the options are right");
    store.check().await.expect("nothing is asked for");
}

#[tokio::test]
async fn tls_is_used_if_it_is_offered_and_asked_for_with_channel_binding() {
    let secured = Secured::start().await;
    let admin = crate::support::postgres::connect(&secured.server.url()).await;
    let check = async |sslmode: &str| {
        let name = sslmode.replace(['?', '=', '&'], "-");
        let url = format!("postgresql://postgres@{ELSEWHERE}:{}/postgres{sslmode}", secured.server.port());
        let url = format!("{url}&application_name={name}");
        let store = PostgresStore::new(&PostgresOptions::new(&url)).expect("the options are right");
        let checked = store.check().await;
        let sql = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = $1";
        let is_encrypted: Option<bool> = admin.query_one(sql, &[&name]).await.expect("the server knows").get(0);
        (checked, is_encrypted)
    };
    assert_eq!(check("?sslmode=prefer").await.1, Some(true));
    assert_eq!(check("?sslmode=disable").await.1, Some(false));
    // A server that accepts a login without a password has not proved that it knows the password.
    let error = check("?sslmode=require&channel_binding=require").await.0.expect_err("nobody is in between");
    assert!(error.to_string().contains("channel binding"), "{error}");
}

#[test]
fn a_file_without_certificates_is_refused_before_anybody_connects() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "no certificates").expect("a file can be written");
    for file in [empty, directory.path().join("missing.pem")] {
        let options = PostgresOptions { ca_file: Some(file), ..PostgresOptions::new("postgresql://localhost/d") };
        let error = PostgresStore::new(&options).expect_err("there is nobody to trust");
        assert!(matches!(&error, PostgresOptionsError::CaFile(reason) if reason.contains(".pem")), "{error}");
    }
}
