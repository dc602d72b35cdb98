//! The keys with which signatures are checked.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::limits::auth::{HS256_SECRET_MIN_BYTES, JWKS_MAX_BYTES, JWKS_MAX_ENTRIES, RSA_MODULUS_MIN_BYTES};

const ED25519_KEY_BYTES: usize = 32;

/// The keys of a provider, or a shared secret. `Debug` shows only their ids.
#[derive(Default)]
pub struct Keys(Vec<Key>);

/// Why there are no keys. The messages never repeat a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadKeys {
    /// The text is not a set of keys.
    #[error("must be a set of keys in JSON (RFC 7517), {{\"keys\":[…]}}")]
    NotASet,
    /// The text is too long, or has too many keys.
    #[error("has more than {JWKS_MAX_BYTES} bytes or {JWKS_MAX_ENTRIES} keys")]
    TooLarge,
    /// No key of the set can check a signature.
    #[error("has no key that can be used: RSA of 2048 bits and more, P-256, P-384 or Ed25519")]
    NoneUsable,
    /// The secret is so short that it could be guessed.
    #[error("must have at least {HS256_SECRET_MIN_BYTES} bytes; openssl rand -base64 32 makes one")]
    ShortSecret,
}

struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    material: Material,
}

enum Material {
    Secret(hmac::Key),
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// The point of an elliptic curve, in the form that `ring` takes.
    Point(Vec<u8>),
}

#[derive(Deserialize)]
struct KeySet<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

impl Keys {
    /// The keys of a set in JSON (RFC 7517). Keys that cannot be used are left out.
    ///
    /// # Errors
    /// When the text is not a set, or has no key that can be used.
    pub fn from_jwks(text: &str) -> Result<Self, BadKeys> {
        if text.len() > JWKS_MAX_BYTES {
            return Err(BadKeys::TooLarge);
        }
        let set: KeySet<'_> = serde_json::from_str(text).map_err(|_| BadKeys::NotASet)?;
        if set.keys.len() > JWKS_MAX_ENTRIES {
            return Err(BadKeys::TooLarge);
        }
        let keys: Vec<Key> = set.keys.iter().filter_map(|key| Key::from_jwk(key.get())).collect();
        if keys.is_empty() { Err(BadKeys::NoneUsable) } else { Ok(Self(keys)) }
    }

    /// A secret that the server shares with the programs that make tokens.
    ///
    /// # Errors
    /// If it is too short.
    pub fn from_secret(secret: &[u8]) -> Result<Self, BadKeys> {
        if secret.len() < HS256_SECRET_MIN_BYTES {
            return Err(BadKeys::ShortSecret);
        }
        let material = Material::Secret(hmac::Key::new(hmac::HMAC_SHA256, secret));
        Ok(Self(vec![Key { id: None, algorithms: vec![Algorithm::HS256], material }]))
    }

    /// Whether a key has this id, or has no id and so may be meant by any.
    #[must_use]
    pub fn knows(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id.as_deref().is_none_or(|known| known == id))
    }

    /// Whether a key has exactly this id.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id.as_deref() == Some(id))
    }

    /// Whether one of the keys that the token may mean made its signature.
    pub(super) fn verify(&self, id: Option<&str>, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let is_meant = |key: &&Key| match (id, key.id.as_deref()) {
            (Some(id), Some(known)) => id == known,
            (Some(_), None) | (None, _) => true,
        };
        let mut meant = self.0.iter().filter(is_meant).filter(|key| key.algorithms.contains(&algorithm));
        match (id, meant.next(), meant.next()) {
            (_, Some(key), None) => key.verify(algorithm, message, signature),
            (Some(_), Some(first), Some(second)) => {
                [first, second].into_iter().chain(meant).any(|key| key.verify(algorithm, message, signature))
            }
            // No key is meant; or the token has no id, and there are several keys that it could mean.
            (_, None, _) | (None, Some(_), Some(_)) => false,
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

impl Key {
    /// Reads a key of a set. Returns `None` if it cannot check signatures.
    fn from_jwk(text: &str) -> Option<Self> {
        let jwk: Jwk = serde_json::from_str(text).ok()?;
        let checks_signatures = |operations: &Vec<KeyOperations>| operations.contains(&KeyOperations::Verify);
        if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature)
            || !jwk.common.key_operations.as_ref().is_none_or(checks_signatures)
        {
            return None;
        }
        let (mut algorithms, material) = match &jwk.algorithm {
            AlgorithmParameters::RSA(key) => (rsa_algorithms(), rsa(&key.n, &key.e)?),
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => (vec![Algorithm::ES256], point(&key.x, &key.y, 32)?),
                EllipticCurve::P384 => (vec![Algorithm::ES384], point(&key.x, &key.y, 48)?),
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                let bytes = decode(&key.x).filter(|bytes| bytes.len() == ED25519_KEY_BYTES)?;
                (vec![Algorithm::EdDSA], Material::Point(bytes))
            }
            // A set of keys is public, so a shared secret in it is not secret.
            _ => return None,
        };
        if let Some(only) = jwk.common.key_algorithm {
            algorithms.retain(|algorithm| format!("{algorithm:?}") == only.to_string());
        }
        if algorithms.is_empty() { None } else { Some(Self { id: jwk.common.key_id, algorithms, material }) }
    }

    fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match (&self.material, algorithm) {
            (Material::Secret(key), Algorithm::HS256) => hmac::verify(key, message, signature).is_ok(),
            (Material::Rsa { modulus, exponent }, _) => rsa_parameters(algorithm).is_some_and(|parameters| {
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(parameters, message, signature).is_ok()
            }),
            (Material::Point(point), _) => curve(algorithm)
                .is_some_and(|curve| UnparsedPublicKey::new(curve, point).verify(message, signature).is_ok()),
            (Material::Secret(_), _) => false,
        }
    }
}

fn rsa_algorithms() -> Vec<Algorithm> {
    use Algorithm::{PS256, PS384, PS512, RS256, RS384, RS512};
    vec![RS256, RS384, RS512, PS256, PS384, PS512]
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

fn curve(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    match algorithm {
        Algorithm::ES256 => Some(&ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Some(&ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Some(&ED25519),
        _ => None,
    }
}

/// `ring` does not take leading zeros.
fn rsa(modulus: &str, exponent: &str) -> Option<Material> {
    let number = |text: &str| {
        let bytes = decode(text)?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Some(bytes[zeros..].to_vec())
    };
    let (modulus, exponent) = (number(modulus)?, number(exponent)?);
    let is_usable = modulus.len() >= RSA_MODULUS_MIN_BYTES && !exponent.is_empty();
    is_usable.then_some(Material::Rsa { modulus, exponent })
}

fn point(x: &str, y: &str, coordinate_bytes: usize) -> Option<Material> {
    let (x, y) = (decode(x)?, decode(y)?);
    let is_whole = x.len() == coordinate_bytes && y.len() == coordinate_bytes;
    is_whole.then(|| Material::Point([&[4], x.as_slice(), y.as_slice()].concat()))
}

pub(super) fn decode(text: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
