//! A password of MongoDB that changes while a function runs.

use mongodb::bson::{Document, doc};
use serde_json::json;
use syncflow_server::limits::aws::SECRET_READ_PAUSE_MS;

use super::moto::StoredSecret;
use super::secrets::{function, status};
use crate::support::mongo::connect;
use crate::support::mongo_server::MongoServer;

/// A server that requires logins, with a user whose password changes.
struct Guarded {
    server: MongoServer,
}

impl Guarded {
    async fn start(password: &str) -> Self {
        let mut server = MongoServer::start().await;
        let admin = connect(&server.uri()).await.database("admin");
        let user = |name: &str, password: &str, roles: Vec<Document>| doc! { "createUser": name, "pwd": password, "roles": roles };
        let root = user("root", "root", vec![doc! { "role": "root", "db": "admin" }]);
        let device = user("server", password, vec![doc! { "role": "readWrite", "db": "syncflow" }]);
        for command in [root, device] {
            admin.run_command(command).await.expect("a user is made");
        }
        server.ask_for_logins().await;
        Self { server }
    }

    /// Changes the password and ends the connections that used the old one.
    async fn set_password(&mut self, password: &str) {
        let uri = self.server.uri().replace("://", "://root:root@");
        let admin = connect(&uri).await.database("admin");
        admin.run_command(doc! { "updateUser": "server", "pwd": password }).await.expect("the password is changed");
        self.server.kill();
        self.server.start_again().await;
    }

    /// The URI without a user.
    fn address(&self) -> String {
        format!("{}&authSource=admin", self.server.uri())
    }
}

fn secret(password: &str) -> String {
    json!({"username": "server", "password": password}).to_string()
}

#[tokio::test]
async fn after_a_rotation_of_mongodb_the_next_request_answers() {
    let mut database = Guarded::start("hunter-1").await;
    let stored = StoredSecret::new(&secret("hunter-1")).await;
    let settings = [("MONGO_SECRET_ARN", stored.arn.as_str()), ("MONGO_URI", &database.address())];
    let mut function = function(&settings).await;
    assert_eq!(status(&mut function).await, 200, "{}", function.log());
    database.set_password("hunter-2").await;
    assert_eq!(status(&mut function).await, 503, "the secret does not know yet: {}", function.log());
    stored.put(&secret("hunter-2")).await;
    // The secret is not read again until a pause is over.
    tokio::time::sleep(std::time::Duration::from_millis(SECRET_READ_PAUSE_MS)).await;
    assert_eq!(status(&mut function).await, 200, "{}", function.log());
    stored.put(&secret("hunter-3")).await;
    database.set_password("hunter-3").await;
    assert_eq!(status(&mut function).await, 200, "{}", function.log());
    assert!(!function.log().contains("hunter-"), "{}", function.log());
}
