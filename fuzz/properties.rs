//! Properties that hold for all bytes. The fuzzer tries them, and so does the suite `fuzzed` in every test run.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use ring::hmac;
use serde_json::Value;
use syncflow_server::api::Api;
use syncflow_server::auth::{Keys, TenantSource, TokenRules, key_id, verify};
use syncflow_server::conformance::VirtualHost;
use syncflow_server::core::access::{Principal, Role};
use syncflow_server::core::clock::{Relation, VectorClock};
use syncflow_server::core::cursor::{Cursor, QueryCursor};
use syncflow_server::core::filter::SortPlace;
use syncflow_server::core::names::{Subject, TenantId};
use syncflow_server::core::numbers::UnixMs;
use syncflow_server::limits::auth::{TOKEN_LEEWAY_MS, TOKEN_MAX_BYTES};
use syncflow_server::service::SyncService;
use syncflow_server::store::memory::MemoryStore;
use tower::ServiceExt as _;

/// The routes that read a body.
const ROUTES: [&str; 4] = ["/operations", "/changes", "/documents/todos/query", "/compact"];

/// Any body is answered with JSON and never with a failure of the server, also the second time.
pub(crate) fn a_body_is_answered(bytes: &[u8]) {
    let service = SyncService::new(Arc::new(MemoryStore::new()), Arc::new(VirtualHost::new()));
    let principal = Principal::new(TenantId::literal("t"), Subject::literal("s"), Role::Admin);
    let routes = Api::builder(Arc::new(service)).fixed_principal(principal).build();
    for route in ROUTES.iter().chain(&ROUTES) {
        let request = Request::post(*route).body(Body::from(bytes.to_vec())).expect("a request");
        // None of these futures waits for an event, so each is complete after one poll.
        let response = routes.clone().oneshot(request).now_or_never().expect("an answer at once");
        let response = response.expect("routes cannot fail");
        let status = response.status();
        assert!(status == StatusCode::OK || status.is_client_error(), "{route}: {status}");
        let body = response.into_body().collect().now_or_never().expect("it is there").expect("it is whole");
        let answer: Value = serde_json::from_slice(&body.to_bytes()).expect("an answer is JSON");
        assert!(status == StatusCode::OK || (answer["error"].is_string() && answer["message"].is_string()), "{answer}");
    }
}

/// If a text is a cursor, it is exactly the text that this cursor is written as.
pub(crate) fn a_cursor_has_one_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(cursor) = Cursor::parse(text) {
        assert_eq!(cursor.to_string(), text);
    }
    if let Ok(cursor) = QueryCursor::parse(text) {
        assert_eq!(cursor.to_string(), text);
    }
    if let Ok(place) = SortPlace::parse(text) {
        assert_eq!(place.to_string(), text);
    }
}

/// Two clocks in one text, with a newline between them: each is the same after writing and reading, and their relation
/// is symmetric.
pub(crate) fn clocks_are_an_order(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (first, second) = text.split_once('\n').unwrap_or((text, "{}"));
    let (Ok(first), Ok(second)) = (VectorClock::parse(first), VectorClock::parse(second)) else { return };
    assert_eq!(VectorClock::parse(first.json().as_str()).as_ref(), Ok(&first));
    let other_side = match first.compare(&second) {
        Relation::HappensBefore => Relation::HappensAfter,
        Relation::HappensAfter => Relation::HappensBefore,
        same => same,
    };
    assert_eq!(second.compare(&first), other_side);
    let mut merged = first.clone();
    merged.merge(&second);
    for clock in [&first, &second] {
        assert!(matches!(merged.compare(clock), Relation::HappensAfter | Relation::Equal));
    }
}

/// The secret of the tokens in the corpus.
const SECRET: &[u8] = b"a secret of exactly 32 bytes !!!";

/// The time at which tokens are checked.
const NOW_MS: UnixMs = UnixMs::new(1_800_000_000_000);

/// Public keys of RFC 7515, RFC 7517 and RFC 8037. No input is signed with them.
const PROVIDER: &str = r#"{"keys":[
    {"kty":"OKP","crv":"Ed25519","kid":"ed","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwaaPJHURo"},
    {"kty":"EC","crv":"P-256","kid":"ec","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
    {"kty":"RSA","kid":"rsa","e":"AQAB","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}
]}"#;

/// Any text is refused as a token, or it is a sound one. The same holds for a token that is signed, with the first line
/// as its header and the rest as its claims. Any text is also read as a set of keys.
pub(crate) fn a_token_is_refused_or_sound(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let secret = Keys::from_secret(SECRET).expect("the secret is long enough");
    let provider = Keys::from_jwks(PROVIDER).expect("the keys are usable");
    is_refused_or_sound(text, &secret);
    assert!(verify(text, &provider, NOW_MS, &token_rules()).is_err(), "{text}");
    if let Some((header, claims)) = text.split_once('\n') {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let token = format!("{message}.{}", signature(&message));
        is_refused_or_sound(&token, &secret);
        assert!(verify(&token, &provider, NOW_MS, &token_rules()).is_err(), "{token}");
    }
    let _ = Keys::from_jwks(text);
}

fn token_rules() -> TokenRules {
    TokenRules {
        issuer: Some("https://id.example".to_owned()),
        audience: Some("sync".to_owned()),
        tenant: TenantSource::Claim("team".to_owned()),
        role_claim: "role".to_owned(),
    }
}

fn signature(message: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message.as_bytes());
    URL_SAFE_NO_PAD.encode(tag.as_ref())
}

/// Checks a token that is accepted by other code, too.
fn is_refused_or_sound(token: &str, keys: &Keys) {
    let named = key_id(token);
    let Ok(verified) = verify(token, keys, NOW_MS, &token_rules()) else { return };
    assert!(token.len() <= TOKEN_MAX_BYTES && named.is_none(), "{token}");
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signed] = parts[..] else { panic!("{token} has no three parts") };
    assert_eq!(signed, signature(&format!("{header}.{claims}")), "{token}");
    let json = |part: &str| -> Value {
        let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64");
        serde_json::from_slice(&bytes).expect("JSON")
    };
    let (header, claims) = (json(header), json(claims));
    assert!(header["alg"] == "HS256" && header.get("crit").is_none() && header.get("b64").is_none(), "{header}");
    let time = |name: &str| claims.get(name).map(|time| time.as_f64().expect("a time is a number"));
    let [now, leeway] = [NOW_MS.get(), TOKEN_LEEWAY_MS].map(|ms| Duration::from_millis(ms).as_secs_f64());
    assert!(time("exp").is_some_and(|exp| (now - leeway..1e12).contains(&exp)), "{claims}");
    for name in ["nbf", "iat"] {
        assert!(time(name).is_none_or(|time| (0.0..now + leeway + 0.002).contains(&time)), "{claims}");
    }
    assert_eq!(claims["iss"], "https://id.example", "{claims}");
    let audience = &claims["aud"];
    assert!(audience == "sync" || audience.as_array().is_some_and(|all| all.iter().any(|one| one == "sync")));
    assert_eq!(claims["sub"], verified.subject.as_str(), "{claims}");
    if let Ok(principal) = verified.principal(None) {
        let (tenant, team) = (principal.tenant.as_str(), &claims["team"]);
        let is_named = |names: &Vec<Value>| names.iter().any(|name| name == tenant);
        let is_granted = team == tenant || team.as_array().is_some_and(is_named) || team.get(tenant).is_some();
        assert!(is_granted, "{claims}");
    }
}
