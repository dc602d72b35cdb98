//! A provider of keys that signs tokens for the tests.

use super::*;

/// A provider with a key of each family.
pub(super) struct Provider {
    pub(super) rsa: RsaKeyPair,
    pub(super) p256: Vec<u8>,
    pub(super) p384: Vec<u8>,
    pub(super) ed: Ed25519KeyPair,
}

impl Provider {
    pub(super) fn new() -> Self {
        let random = SystemRandom::new();
        let der = STANDARD.decode(include_str!("../test-key.txt").replace('\n', "")).unwrap();
        let ecdsa = |algorithm| EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap().as_ref().to_vec();
        Self {
            rsa: RsaKeyPair::from_pkcs8(&der).unwrap(),
            p256: ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            p384: ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
            ed: Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref()).unwrap(),
        }
    }

    pub(super) fn point(pkcs8: &[u8], algorithm: &'static EcdsaSigningAlgorithm) -> (String, String) {
        let key = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8, &SystemRandom::new()).unwrap();
        let point = key.public_key().as_ref()[1..].to_vec();
        let (x, y) = point.split_at(point.len() / 2);
        (encode(x), encode(y))
    }

    pub(super) fn rsa_jwk(&self, id: &str) -> Value {
        let key: RsaPublicKeyComponents<Vec<u8>> = self.rsa.public().into();
        let (n, e) = (key.n, key.e);
        json!({"kty": "RSA", "kid": id, "n": encode(n), "e": encode(e)})
    }

    pub(super) fn p256_jwk(&self, id: &str) -> Value {
        let (x, y) = Self::point(&self.p256, &ECDSA_P256_SHA256_FIXED_SIGNING);
        json!({"kty": "EC", "crv": "P-256", "kid": id, "x": x, "y": y})
    }

    pub(super) fn p384_jwk(&self, id: &str) -> Value {
        let (x, y) = Self::point(&self.p384, &ECDSA_P384_SHA384_FIXED_SIGNING);
        json!({"kty": "EC", "crv": "P-384", "kid": id, "x": x, "y": y})
    }

    pub(super) fn ed_jwk(&self, id: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": encode(self.ed.public_key())})
    }

    /// All four public keys. The id of each is its algorithm.
    pub(super) fn keys(&self) -> Keys {
        set(&[self.rsa_jwk("RS256"), self.p256_jwk("ES256"), self.p384_jwk("ES384"), self.ed_jwk("EdDSA")]).unwrap()
    }

    pub(super) fn signature(&self, algorithm: &str, message: &str) -> Vec<u8> {
        let message = message.as_bytes();
        match algorithm {
            "RS256" => self.rsa_signature(&RSA_PKCS1_SHA256, message),
            "PS256" => self.rsa_signature(&RSA_PSS_SHA256, message),
            "ES256" => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.p256, message),
            "ES256 in DER" => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.p256, message),
            "ES384" => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING, &self.p384, message),
            "EdDSA" => self.ed.sign(message).as_ref().to_vec(),
            _ => hs256(SECRET, message),
        }
    }

    pub(super) fn rsa_signature(&self, padding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.rsa.public().modulus_len()];
        self.rsa.sign(padding, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    }

    /// Signs a token with the given header, by the algorithm `signed_as`.
    pub(super) fn sign(&self, signed_as: &str, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        format!("{message}.{}", encode(self.signature(signed_as, &message)))
    }

    pub(super) fn token(&self, algorithm: &str) -> String {
        self.sign(algorithm, &json!({"alg": algorithm, "kid": algorithm}).to_string(), &claims().to_string())
    }
}

pub(super) fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm, pkcs8: &[u8], message: &[u8]) -> Vec<u8> {
    let random = SystemRandom::new();
    EcdsaKeyPair::from_pkcs8(algorithm, pkcs8, &random).unwrap().sign(&random, message).unwrap().as_ref().to_vec()
}

pub(super) fn hs256(secret: &[u8], message: &[u8]) -> Vec<u8> {
    ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
}

pub(super) fn set(keys: &[Value]) -> Result<Keys, BadKeys> {
    Keys::from_jwks(&json!({ "keys": keys }).to_string())
}
