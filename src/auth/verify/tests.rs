//! The verifier against tokens of all kinds, in the groups of RFC 8725 and of known faults of other verifiers.

mod provider;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
    RsaPublicKeyComponents,
};
use serde_json::json;

use self::provider::{Provider, hs256, set};
use super::*;
use crate::auth::BadKeys;
use crate::core::access::Role;
use crate::core::names::TenantId;

const SECRET: &[u8] = b"a secret of exactly 32 bytes !!!";
const NOW_SECONDS: u64 = 1_800_000_000;
const NOW_MS: UnixMs = UnixMs::new(NOW_SECONDS * 1_000);

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn claims() -> Value {
    json!({"iss": "https://id.example", "aud": "sync", "sub": "ann", "exp": NOW_SECONDS + 60, "team": "t"})
}

fn rules() -> TokenRules {
    TokenRules {
        issuer: Some("https://id.example".to_owned()),
        audience: Some("sync".to_owned()),
        tenant: TenantSource::Claim("team".to_owned()),
        role_claim: "role".to_owned(),
    }
}

fn check(token: &str, keys: &Keys) -> Result<VerifiedToken, Reason> {
    verify(token, keys, NOW_MS, &rules())
}

/// Verifies a token with a claim that is changed or left out.
fn with_claim(name: &str, value: Option<Value>) -> Result<VerifiedToken, Reason> {
    let mut claims = claims();
    let members = claims.as_object_mut().unwrap();
    match value {
        Some(value) => members.insert(name.to_owned(), value),
        None => members.remove(name),
    };
    check(&sign_hs256(SECRET, &claims), &Keys::from_secret(SECRET).unwrap())
}

#[test]
fn a_good_token_of_each_family_says_who_it_is() {
    let provider = Provider::new();
    for algorithm in ["RS256", "ES256", "ES384", "EdDSA"] {
        let token = check(&provider.token(algorithm), &provider.keys()).unwrap();
        let principal = token.principal(None).unwrap();
        assert_eq!((principal.tenant.as_str(), principal.subject.as_str(), principal.role), ("t", "ann", Role::Writer));
        assert_eq!(principal.valid_until_ms, Some(NOW_MS.plus_ms(60_000 + TOKEN_LEEWAY_MS)));
        assert_eq!(principal.claims.get("iss"), Some(&json!("https://id.example")));
    }
    let pss = provider.sign("PS256", r#"{"alg":"PS256","kid":"RS256"}"#, &claims().to_string());
    assert!(check(&pss, &provider.keys()).is_ok());
    assert!(with_claim("role", Some(json!("admin"))).is_ok());
}

#[test]
fn algorithms_are_those_of_the_key_and_never_none() {
    let provider = Provider::new();
    let keys = provider.keys();
    let body = encode(claims().to_string());
    for none in ["none", "None", "NONE", "nOnE", "", "HS1", "RS1", "ES256K", "ES512"] {
        let header = encode(json!({"alg": none, "kid": "RS256"}).to_string());
        for signature in ["", "AA"] {
            let refused = check(&format!("{header}.{body}.{signature}"), &keys).unwrap_err();
            assert_eq!(refused, Reason::Header, "{none:?}");
        }
    }
    for header in [r#"{"kid":"RS256"}"#, r#"{"alg":null}"#, r#"{"alg":["RS256"]}"#, r#"{"alg":5}"#] {
        assert_eq!(check(&format!("{}.{body}.AA", encode(header)), &keys), Err(Reason::Header), "{header}");
    }
    // The public key is used as the secret of an HMAC, in each form that an attacker may have.
    let jwk = provider.rsa_jwk("RS256");
    let modulus = decode(jwk["n"].as_str().unwrap()).unwrap();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&modulus));
    for secret in [modulus.clone(), jwk.to_string().into_bytes(), pem.into_bytes(), jwk["n"].to_string().into_bytes()] {
        for id in ["RS256", "ES256"] {
            let message = format!("{}.{body}", encode(json!({"alg": "HS256", "kid": id}).to_string()));
            let token = format!("{message}.{}", encode(hs256(&secret, message.as_bytes())));
            assert_eq!(check(&token, &keys), Err(Reason::Signature));
        }
    }
    // A right signature is given under the name of another algorithm, or with a key of another family.
    for (signed_as, named, id) in [
        ("RS256", "PS256", "RS256"),
        ("PS256", "RS256", "RS256"),
        ("RS256", "RS384", "RS256"),
        ("RS256", "ES256", "ES256"),
        ("ES256", "ES384", "ES384"),
        ("ES384", "ES256", "ES384"),
        ("ES256", "ES256", "ES384"),
        ("ES256", "EdDSA", "EdDSA"),
        ("HS256", "HS256", "RS256"),
    ] {
        let token = provider.sign(signed_as, &json!({"alg": named, "kid": id}).to_string(), &claims().to_string());
        assert_eq!(check(&token, &keys), Err(Reason::Signature), "{signed_as} {named} {id}");
    }
    // The statements of the key itself take effect.
    for (name, value) in [
        ("alg", json!("PS256")),
        ("alg", json!("RSA-OAEP")),
        ("alg", json!("x")),
        ("use", json!("enc")),
        ("key_ops", json!(["sign"])),
    ] {
        let mut narrow = provider.rsa_jwk("RS256");
        narrow[name] = value;
        let keys = set(&[narrow, provider.ed_jwk("e")]).unwrap();
        assert!(check(&provider.token("RS256"), &keys).is_err());
    }
}

#[test]
fn a_header_names_a_key_and_nothing_else_of_it_is_used() {
    let provider = Provider::new();
    let keys = provider.keys();
    let token = |header: Value| provider.sign("RS256", &header.to_string(), &claims().to_string());
    for odd in ["x", "../../etc/passwd", "' OR 1=1 --", "a\nlevel=ERROR", &"k".repeat(4_000), ""] {
        assert_eq!(check(&token(json!({"alg": "RS256", "kid": odd})), &keys), Err(Reason::UnknownKey), "{odd}");
    }
    assert_eq!(check(&token(json!({"alg": "RS256", "kid": "k".repeat(10_000)})), &keys), Err(Reason::TooLong));
    assert_eq!(check(&token(json!({"alg": "RS256", "kid": 5})), &keys), Err(Reason::Header));
    let twice = provider.sign("RS256", r#"{"alg":"RS256","kid":"RS256","kid":"x"}"#, &claims().to_string());
    assert_eq!(check(&twice, &keys), Err(Reason::Malformed));
    let twice = provider.sign("RS256", r#"{"alg":"RS256","kid":"RS256","x":1,"x":2}"#, &claims().to_string());
    assert_eq!(check(&twice, &keys), Err(Reason::Malformed));
    // A token without a key id is checked with the only key that it can mean.
    assert!(check(&token(json!({"alg": "RS256"})), &keys).is_ok());
    let two = set(&[provider.rsa_jwk("a"), provider.rsa_jwk("b")]).unwrap();
    assert_eq!(check(&token(json!({"alg": "RS256"})), &two), Err(Reason::Signature));
    assert!(check(&token(json!({"alg": "RS256", "kid": "b"})), &two).is_ok());
    let one_id = set(&[provider.p256_jwk("a"), provider.rsa_jwk("a")]).unwrap();
    assert!(check(&token(json!({"alg": "RS256", "kid": "a"})), &one_id).is_ok());
    // Keys in the token itself, and addresses of keys.
    let other = Provider::new();
    for (name, value) in [
        ("jwk", other.ed_jwk("EdDSA")),
        ("x5c", json!([STANDARD.encode("certificate")])),
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5u", json!("https://evil.example/cert.pem")),
    ] {
        let mut header = json!({"alg": "EdDSA", "kid": "EdDSA"});
        header[name] = value;
        let forged = other.sign("EdDSA", &header.to_string(), &claims().to_string());
        assert_eq!(check(&forged, &keys), Err(Reason::Signature), "{name}");
    }
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", json!(null)),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A128GCM")),
        ("typ", json!("dpop+jwt")),
        ("typ", json!("secevent+jwt")),
    ] {
        let mut header = json!({"alg": "RS256", "kid": "RS256"});
        header[name] = value.clone();
        assert_eq!(check(&token(header), &keys), Err(Reason::Header), "{name} {value}");
    }
    for kind in ["JWT", "jwt", "at+jwt", "application/at+JWT"] {
        assert!(check(&token(json!({"alg": "RS256", "kid": "RS256", "typ": kind})), &keys).is_ok(), "{kind}");
    }
}

#[test]
fn times_are_numbers_and_have_half_a_minute_of_leeway() {
    let leeway = TOKEN_LEEWAY_MS / 1_000;
    let now = NOW_SECONDS;
    for (exp, expected) in [
        (json!(now), None),
        (json!(now - leeway + 1), None),
        (json!(now - leeway), Some(Reason::Expired)),
        (json!(now - 3_600), Some(Reason::Expired)),
        (json!(0), Some(Reason::Expired)),
        (json!(1.8e9 + 60.5), None),
        (json!(253_402_300_799_u64), None),
        (json!(-1), Some(Reason::Time)),
        (json!(1e30), Some(Reason::Time)),
        (json!(u64::MAX), Some(Reason::Time)),
        (json!("1900000000"), Some(Reason::Time)),
        (json!(null), Some(Reason::Time)),
        (json!([now + 60]), Some(Reason::Time)),
        (json!(true), Some(Reason::Time)),
    ] {
        assert_eq!(with_claim("exp", Some(exp.clone())).err(), expected, "exp {exp}");
    }
    assert_eq!(with_claim("exp", None).err(), Some(Reason::Time));
    for name in ["nbf", "iat"] {
        for (time, expected) in [
            (json!(now), None),
            (json!(now + leeway), None),
            (json!(now + leeway + 1), Some(Reason::NotYetValid)),
            (json!(1e30), Some(Reason::Time)),
            (json!(-1), Some(Reason::Time)),
            (json!("0"), Some(Reason::Time)),
            (json!(null), Some(Reason::Time)),
        ] {
            assert_eq!(with_claim(name, Some(time.clone())).err(), expected, "{name} {time}");
        }
    }
    // A token is valid again if the clock goes back, and a clock that stands still does no harm.
    let token = sign_hs256(SECRET, &claims());
    let keys = Keys::from_secret(SECRET).unwrap();
    let at = |now_ms| verify(&token, &keys, now_ms, &rules()).err();
    assert_eq!([at(NOW_MS.plus_ms(3_600_000)), at(NOW_MS), at(UnixMs::EPOCH)], [Some(Reason::Expired), None, None]);
    assert_eq!(at(UnixMs::new(u64::MAX)), Some(Reason::Expired));
}

#[test]
fn a_token_is_from_the_issuer_for_the_audience_and_of_somebody() {
    for issuer in [json!("https://id.example/"), json!("x"), json!(["https://id.example"]), json!(null), json!(5)] {
        assert_eq!(with_claim("iss", Some(issuer.clone())).err(), Some(Reason::Issuer), "{issuer}");
    }
    assert_eq!(with_claim("iss", None).err(), Some(Reason::Issuer));
    for audience in [json!("x"), json!([]), json!(null), json!(["x"]), json!([["sync"]]), json!({"sync": 1}), json!("")]
    {
        assert_eq!(with_claim("aud", Some(audience.clone())).err(), Some(Reason::Audience), "{audience}");
    }
    assert_eq!(with_claim("aud", None).err(), Some(Reason::Audience));
    assert_eq!(with_claim("aud", Some(json!(["x", "sync"]))).err(), None);
    for subject in [json!(""), json!(5), json!(null), json!("a\nb"), json!("x".repeat(257)), json!(["ann"])] {
        assert_eq!(with_claim("sub", Some(subject.clone())).err(), Some(Reason::Subject), "{subject}");
    }
    assert_eq!(with_claim("sub", None).err(), Some(Reason::Subject));
    for tenant in [json!(""), json!([]), json!(5), json!(null), json!({"t": "root"})] {
        assert_eq!(with_claim("team", Some(tenant.clone())).err(), Some(Reason::Grants), "{tenant}");
    }
    // If no audience is set, a token must not have one: it would be meant for another server.
    let keys = Keys::from_secret(SECRET).unwrap();
    let any = TokenRules { issuer: None, audience: None, ..rules() };
    let mut claims = claims();
    assert_eq!(verify(&sign_hs256(SECRET, &claims), &keys, NOW_MS, &any), Err(Reason::Audience));
    claims.as_object_mut().unwrap().remove("aud");
    assert!(verify(&sign_hs256(SECRET, &claims), &keys, NOW_MS, &any).is_ok());
    let fixed = TokenRules { tenant: TenantSource::Fixed(TenantId::literal("one")), ..any };
    let token = verify(&sign_hs256(SECRET, &claims), &keys, NOW_MS, &fixed).unwrap();
    assert_eq!(token.principal(None).unwrap().tenant.as_str(), "one");
    assert_eq!(token.principal(Some("t")), Err(Denied::ForbiddenTenant));
}

#[test]
fn a_token_is_three_parts_in_one_encoding() {
    let keys = Keys::from_secret(SECRET).unwrap();
    let good = sign_hs256(SECRET, &claims());
    let parts: Vec<&str> = good.split('.').collect();
    let [header, body, signature] = parts[..] else { panic!("three parts") };
    assert!(check(&good, &keys).is_ok());
    for bad in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        header.to_owned(),
        format!("{header}.{body}"),
        format!("{header}.{body}.{signature}."),
        format!("{header}.{body}.{signature}.{signature}"),
        format!("{header}.{body}..{signature}.{signature}"),
        format!(".{body}.{signature}"),
        format!("{header}..{signature}"),
        format!("{header}.{body}."),
        format!("{good}="),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{header}.{body}.{}", STANDARD.encode(decode(signature).unwrap())),
        format!("{header}.{body}=.{signature}"),
        good.replace('.', "\u{2024}"),
    ] {
        assert!(check(&bad, &keys).is_err(), "{bad:?}");
    }
    let sign = |header: &[u8], body: &[u8]| {
        let message = format!("{}.{}", encode(header), encode(body));
        let token = format!("{message}.{}", encode(hs256(SECRET, message.as_bytes())));
        check(&token, &keys)
    };
    let (header, body) = (br#"{"alg":"HS256"}"#, claims().to_string());
    assert!(sign(header, body.as_bytes()).is_ok());
    let deep = format!("{}{}", "[".repeat(3_000), "]".repeat(3_000));
    for bad in [
        "[]".to_owned(),
        "null".to_owned(),
        "\"x\"".to_owned(),
        format!("\u{feff}{body}"),
        format!("{body}{body}"),
        body.replace("\"sub\":\"ann\"", "\"sub\":\"eve\",\"sub\":\"ann\""),
        body.replace("\"sub\":\"ann\"", "\"sub\":\"ann\",\"x\":{\"y\":1,\"y\":2}"),
        body.replace("\"ann\"", &deep),
    ] {
        assert_eq!(sign(header, bad.as_bytes()).err(), Some(Reason::Malformed), "{bad:.80}");
    }
    assert_eq!(sign(header, b"{\"sub\":\"\xff\"}").err(), Some(Reason::Malformed));
    for bad in ["[]", "null", "{", "{\"alg\":\"HS256\"} x"] {
        assert!(sign(bad.as_bytes(), body.as_bytes()).is_err(), "{bad}");
    }
}

/// The characters of base64 in the order of their values.
const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[test]
fn bits_behind_the_last_byte_of_a_part_are_zero() {
    let keys = Keys::from_secret(SECRET).unwrap();
    let good = sign_hs256(SECRET, &claims());
    // 32 bytes have 43 characters, of which the last one has two bits too many.
    let (rest, last) = good.split_at(good.len() - 1);
    let value = BASE64.find(last).unwrap();
    assert_eq!(value % 4, 0);
    for more in 1..4 {
        let same_bytes = format!("{rest}{}", &BASE64[value + more..=value + more]);
        assert_eq!(check(&same_bytes, &keys).err(), Some(Reason::Malformed), "{more}");
    }
}

#[test]
fn a_token_has_a_largest_size() {
    let keys = Keys::from_secret(SECRET).unwrap();
    let of_size = |padding: usize| {
        let mut claims = claims();
        claims["x"] = json!("x".repeat(padding));
        sign_hs256(SECRET, &claims)
    };
    let largest = (0..TOKEN_MAX_BYTES).map(of_size).take_while(|token| token.len() <= TOKEN_MAX_BYTES).last().unwrap();
    assert!(largest.len() > TOKEN_MAX_BYTES - 4 && check(&largest, &keys).is_ok());
    for padding in [TOKEN_MAX_BYTES, 5 * 1024 * 1024] {
        assert_eq!(check(&of_size(padding), &keys).err(), Some(Reason::TooLong));
    }
    let levels = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep = format!("{}.{}.AA", encode(r#"{"alg":"HS256"}"#), encode(levels));
    assert_eq!(check(&deep, &keys).err(), Some(Reason::TooLong));
    assert_eq!(key_id(&deep), None);
}

#[test]
fn every_flipped_bit_is_found() {
    let provider = Provider::new();
    for (token, keys) in [
        (provider.token("ES256"), provider.keys()),
        (sign_hs256(SECRET, &claims()), Keys::from_secret(SECRET).unwrap()),
    ] {
        assert!(check(&token, &keys).is_ok());
        for (at, bit) in (0..token.len()).flat_map(|at| (0..7).map(move |bit| (at, bit))) {
            let mut bytes = token.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let flipped = String::from_utf8(bytes).unwrap();
            assert!(check(&flipped, &keys).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn signatures_have_one_form_and_are_not_zero() {
    let provider = Provider::new();
    let keys = provider.keys();
    let message = format!("{}.{}", encode(r#"{"alg":"ES256","kid":"ES256"}"#), encode(claims().to_string()));
    let with = |signature: &[u8]| check(&format!("{message}.{}", encode(signature)), &keys).err();
    let good = provider.signature("ES256", &message);
    assert_eq!(with(&good), None);
    let (r, s) = good.split_at(32);
    let order = decode("_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE").unwrap();
    for bad in [
        provider.signature("ES256 in DER", &message),
        vec![0; 64],
        [&[0; 32], s].concat(),
        [r, &[0; 32]].concat(),
        [&order, s].concat(),
        [r, order.as_slice()].concat(),
        [&[0], r, s].concat(),
        good[..63].to_vec(),
        Vec::new(),
    ] {
        assert_eq!(with(&bad), Some(Reason::Signature), "{bad:?}");
    }
    // Another S with the same value modulo the order of the group.
    let message = format!("{}.{}", encode(r#"{"alg":"EdDSA","kid":"EdDSA"}"#), encode(claims().to_string()));
    let mut signature = provider.signature("EdDSA", &message);
    let order: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    for (byte, more) in signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(more) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(check(&format!("{message}.{}", encode(signature)), &keys).err(), Some(Reason::Signature));
}

#[test]
fn keys_that_cannot_be_used_are_left_out_and_weak_ones_refused() {
    let provider = Provider::new();
    assert_eq!(Keys::from_secret(&SECRET[1..]).err(), Some(BadKeys::ShortSecret));
    assert_eq!(Keys::from_secret(b"").err(), Some(BadKeys::ShortSecret));
    let small_rsa = json!({"kty": "RSA", "n": encode([255; 128]), "e": "AQAB"});
    let mut off_the_curve = provider.p256_jwk("off");
    off_the_curve["y"] = off_the_curve["x"].clone();
    let mut even = provider.rsa_jwk("even");
    even["n"] = json!(encode([254; 256]));
    let mut one = provider.rsa_jwk("one");
    one["e"] = json!("AQ");
    for unusable in [
        json!({}),
        json!(5),
        json!({"kty": "oct", "k": encode(SECRET)}),
        json!({"kty": "XYZ", "kid": "x"}),
        json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}),
        json!({"kty": "EC", "crv": "secp256k1", "x": encode([1; 32]), "y": encode([1; 32])}),
        json!({"kty": "EC", "crv": "P-256", "x": encode([1; 31]), "y": encode([1; 32])}),
        json!({"kty": "OKP", "crv": "X25519", "x": encode([1; 32])}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": encode([1; 31])}),
        json!({"kty": "RSA", "n": "", "e": ""}),
        small_rsa,
    ] {
        assert_eq!(set(std::slice::from_ref(&unusable)).err(), Some(BadKeys::NoneUsable), "{unusable}");
        let keys = set(&[unusable, provider.rsa_jwk("RS256")]).unwrap();
        assert!(check(&provider.token("RS256"), &keys).is_ok());
    }
    let keys = set(&[off_the_curve, even, one]).unwrap();
    for (algorithm, id) in [("ES256", "off"), ("RS256", "even"), ("RS256", "one")] {
        let token = provider.sign(algorithm, &json!({"alg": algorithm, "kid": id}).to_string(), &claims().to_string());
        assert_eq!(check(&token, &keys).err(), Some(Reason::Signature), "{id}");
    }
    for text in ["", "{}", "[]", "null", r#"{"keys":{}}"#, r#"{"keys":null}"#] {
        assert_eq!(Keys::from_jwks(text).err(), Some(BadKeys::NotASet), "{text}");
    }
    assert_eq!(Keys::from_jwks(r#"{"keys":[]}"#).err(), Some(BadKeys::NoneUsable));
    assert_eq!(set(&vec![json!({}); 1_000]).err(), Some(BadKeys::TooLarge));
    assert_eq!(Keys::from_jwks(&" ".repeat(5 * 1024 * 1024)).err(), Some(BadKeys::TooLarge));
    let shown = format!("{:?}", set(&[provider.rsa_jwk("RS256")]).unwrap());
    assert_eq!(shown, "[Some(\"RS256\")]");
}

#[test]
fn the_id_of_a_key_is_read_before_anything_is_believed() {
    let provider = Provider::new();
    assert_eq!(key_id(&provider.token("RS256")).as_deref(), Some("RS256"));
    for token in ["", "x", "a.b.c", &sign_hs256(SECRET, &claims()), &"x.".repeat(TOKEN_MAX_BYTES)] {
        assert_eq!(key_id(token), None);
    }
}
