//! Certificate fingerprints (RFC 8122).

use aws_lc_rs::{constant_time, digest};

use crate::types::TransportError;

/// Hash function of a [`Fingerprint`]. SHA-1 and MD5 are not accepted (RFC 8122 5 deprecates them).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// The hash of a certificate, as signalled by `a=fingerprint`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    hash: Hash,
    bytes: Vec<u8>,
}

impl Fingerprint {
    /// From the two words of `a=fingerprint`: the hash function and hex bytes joined by colons.
    ///
    /// # Errors
    /// [`TransportError::Fingerprint`] if the function is not sha-256, sha-384 or sha-512, or the
    /// value has not exactly its length.
    pub fn parse(algorithm: &str, value: &str) -> Result<Self, TransportError> {
        let refused = || TransportError::Fingerprint(algorithm.chars().take(16).collect());
        let hash = match algorithm {
            a if a.eq_ignore_ascii_case("sha-256") => Hash::Sha256,
            a if a.eq_ignore_ascii_case("sha-384") => Hash::Sha384,
            a if a.eq_ignore_ascii_case("sha-512") => Hash::Sha512,
            _ => return Err(refused()),
        };
        if value.len() != hash.len() * 3 - 1 {
            return Err(refused());
        }
        let bytes = value
            .split(':')
            .map(|byte| match byte.as_bytes() {
                [high, low] => Some(hex(*high)? << 4 | hex(*low)?),
                _ => None,
            })
            .collect::<Option<Vec<u8>>>()
            .filter(|bytes| bytes.len() == hash.len())
            .ok_or_else(refused)?;
        Ok(Fingerprint { hash, bytes })
    }

    /// The SHA-256 fingerprint of a certificate in DER.
    pub fn sha256(certificate: &[u8]) -> Self {
        Fingerprint {
            hash: Hash::Sha256,
            bytes: Hash::Sha256.digest(certificate),
        }
    }

    /// Whether this is the fingerprint of `certificate` (DER), compared in constant time.
    pub fn matches(&self, certificate: &[u8]) -> bool {
        let actual = self.hash.digest(certificate);
        constant_time::verify_slices_are_equal(&actual, &self.bytes).is_ok()
    }

    /// The hash function's name in SDP.
    pub fn algorithm(&self) -> &'static str {
        match self.hash {
            Hash::Sha256 => "sha-256",
            Hash::Sha384 => "sha-384",
            Hash::Sha512 => "sha-512",
        }
    }
}

/// Upper-case hex bytes joined by colons.
impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, byte) in self.bytes.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl Hash {
    fn len(self) -> usize {
        self.algorithm().output_len()
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        digest::digest(self.algorithm(), bytes).as_ref().to_vec()
    }

    fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha384 => &digest::SHA384,
            Hash::Sha512 => &digest::SHA512,
        }
    }
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|d| d as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_matches() {
        let fingerprint = Fingerprint::sha256(b"certificate");
        let text = fingerprint.to_string();
        assert_eq!(text.len(), 95);
        assert_eq!(text, text.to_uppercase());
        let parsed = Fingerprint::parse("SHA-256", &text.to_lowercase()).unwrap();
        assert_eq!(parsed, fingerprint);
        assert!(parsed.matches(b"certificate"));
        assert!(!parsed.matches(b"certificatf"));
    }

    #[test]
    fn longer_hashes_are_accepted() {
        for (name, len) in [("sha-384", 48), ("sha-512", 64)] {
            let text = vec!["0A"; len].join(":");
            let parsed = Fingerprint::parse(name, &text).unwrap();
            assert_eq!(parsed.algorithm(), name);
            assert!(!parsed.matches(b"x"));
        }
    }

    #[test]
    fn refuses_what_is_not_one() {
        let good = Fingerprint::sha256(b"x").to_string();
        for (name, value) in [
            ("sha-1", &good[..59]),
            ("md5", &good[..47]),
            ("", &good[..]),
            ("sha-256", ""),
            ("sha-256", &good[..94]),
            ("sha-384", &good[..]),
            ("sha-256", &good.replace(':', "-")),
            (
                "sha-256",
                &good.replace(['A', 'B', 'C', 'D', 'E', 'F', '0'], "G"),
            ),
            ("sha-256", &format!("+{}", &good[1..])),
        ] {
            assert!(Fingerprint::parse(name, value).is_err(), "{name} {value}");
        }
    }
}
