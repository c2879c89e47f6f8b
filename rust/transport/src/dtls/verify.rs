//! Whether a peer signed a handshake with the key of its certificate.
//!
//! Of a certificate only the public key is read: in WebRTC the fingerprint says whose it is (RFC 8827
//! 6.5). Its dates, issuer, version, extensions and the signature on it are nobody's business, and
//! small stacks write them as they like.
//!
//! Taken is what pion takes in DTLS 1.2: ECDSA on P-224, P-256, P-384 and P-521, Ed25519, RSA in PKCS #1 v1.5
//! and PSS, each with SHA-256, SHA-384 or SHA-512.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self as aws, UnparsedPublicKey, VerificationAlgorithm};
use dimpl::CryptoError;
use dimpl::crypto::{HashAlgorithm, SignatureAlgorithm, SignatureVerifier};
use p224::ecdsa::signature::hazmat::PrehashVerifier;
use p224::ecdsa::{DerSignature, VerifyingKey};

const RSA_ENCRYPTION: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
const EC_PUBLIC_KEY: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
const P224: &[u8] = &[0x2B, 0x81, 0x04, 0x00, 0x21];
const P256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2B, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x2B, 0x81, 0x04, 0x00, 0x23];
const ED25519: &[u8] = &[0x2B, 0x65, 0x70];

/// For the engine's configuration.
pub(super) static VERIFIER: Verifier = Verifier;

#[derive(Debug)]
pub(super) struct Verifier;

impl SignatureVerifier for Verifier {
    fn verify_signature(
        &self,
        certificate: &[u8],
        data: &[u8],
        signature: &[u8],
        hash: HashAlgorithm,
        scheme: SignatureAlgorithm,
    ) -> Result<(), CryptoError> {
        let key = PublicKey::of(certificate).ok_or(CryptoError::CertificateParseFailed)?;
        if key.kind == EC_PUBLIC_KEY && key.curve == Some(P224) {
            return verify_p224(key.bits, data, signature, hash, scheme);
        }
        let algorithm = key.algorithm(hash, scheme)?;
        UnparsedPublicKey::new(algorithm, key.bits)
            .verify(data, signature)
            .map_err(|_| CryptoError::InvalidSignatureFormat)
    }
}

/// SubjectPublicKeyInfo (RFC 5280 4.1.2.7).
#[derive(Debug, PartialEq, Eq)]
struct PublicKey<'a> {
    kind: &'a [u8],
    /// The curve of an EC key.
    curve: Option<&'a [u8]>,
    bits: &'a [u8],
}

impl<'a> PublicKey<'a> {
    /// RFC 5280 4.1: what comes before the key is stepped over.
    fn of(certificate: &'a [u8]) -> Option<Self> {
        const VERSION: u8 = 0xA0;
        let mut certificate = Der(certificate).constructed()?;
        let mut fields = certificate.constructed()?;
        if fields.0.first() == Some(&VERSION) {
            fields.next()?;
        }
        for _serial_algorithm_issuer_validity_subject in 0..5 {
            fields.next()?;
        }
        let mut info = fields.constructed()?;
        let mut algorithm = info.constructed()?;
        let kind = algorithm.take(Der::OBJECT_IDENTIFIER)?;
        let (unused, bits) = info.take(Der::BIT_STRING)?.split_first()?;
        (*unused == 0).then_some(PublicKey {
            kind,
            curve: algorithm.take(Der::OBJECT_IDENTIFIER),
            bits,
        })
    }

    fn algorithm(
        &self,
        hash: HashAlgorithm,
        scheme: SignatureAlgorithm,
    ) -> Result<&'static dyn VerificationAlgorithm, CryptoError> {
        use HashAlgorithm as H;
        use SignatureAlgorithm as S;
        let algorithm: &dyn VerificationAlgorithm = match (self.kind, self.curve, scheme, hash) {
            (EC_PUBLIC_KEY, Some(P256), S::ECDSA, H::SHA256) => &aws::ECDSA_P256_SHA256_ASN1,
            (EC_PUBLIC_KEY, Some(P256), S::ECDSA, H::SHA384) => &aws::ECDSA_P256_SHA384_ASN1,
            (EC_PUBLIC_KEY, Some(P256), S::ECDSA, H::SHA512) => &aws::ECDSA_P256_SHA512_ASN1,
            (EC_PUBLIC_KEY, Some(P384), S::ECDSA, H::SHA256) => &aws::ECDSA_P384_SHA256_ASN1,
            (EC_PUBLIC_KEY, Some(P384), S::ECDSA, H::SHA384) => &aws::ECDSA_P384_SHA384_ASN1,
            (EC_PUBLIC_KEY, Some(P384), S::ECDSA, H::SHA512) => &aws::ECDSA_P384_SHA512_ASN1,
            (EC_PUBLIC_KEY, Some(P521), S::ECDSA, H::SHA256) => &aws::ECDSA_P521_SHA256_ASN1,
            (EC_PUBLIC_KEY, Some(P521), S::ECDSA, H::SHA384) => &aws::ECDSA_P521_SHA384_ASN1,
            (EC_PUBLIC_KEY, Some(P521), S::ECDSA, H::SHA512) => &aws::ECDSA_P521_SHA512_ASN1,
            (ED25519, _, S::ED25519, H::INTRINSIC) => &aws::ED25519,
            // WebRTC's old default was RSA of 1024 bits.
            (RSA_ENCRYPTION, _, S::RSA, H::SHA256) => {
                &aws::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY
            }
            (RSA_ENCRYPTION, _, S::RSA, H::SHA384) => &aws::RSA_PKCS1_2048_8192_SHA384,
            (RSA_ENCRYPTION, _, S::RSA, H::SHA512) => {
                &aws::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY
            }
            (RSA_ENCRYPTION, _, S::PSS_SHA256, H::INTRINSIC) => &aws::RSA_PSS_2048_8192_SHA256,
            (RSA_ENCRYPTION, _, S::PSS_SHA384, H::INTRINSIC) => &aws::RSA_PSS_2048_8192_SHA384,
            (RSA_ENCRYPTION, _, S::PSS_SHA512, H::INTRINSIC) => &aws::RSA_PSS_2048_8192_SHA512,
            _ => return Err(CryptoError::UnsupportedSignatureAlgorithm(scheme)),
        };
        Ok(algorithm)
    }
}

fn verify_p224(
    key: &[u8],
    data: &[u8],
    signature: &[u8],
    hash: HashAlgorithm,
    scheme: SignatureAlgorithm,
) -> Result<(), CryptoError> {
    let algorithm = match (scheme, hash) {
        (SignatureAlgorithm::ECDSA, HashAlgorithm::SHA256) => &digest::SHA256,
        (SignatureAlgorithm::ECDSA, HashAlgorithm::SHA384) => &digest::SHA384,
        (SignatureAlgorithm::ECDSA, HashAlgorithm::SHA512) => &digest::SHA512,
        _ => return Err(CryptoError::UnsupportedSignatureAlgorithm(scheme)),
    };
    let key =
        VerifyingKey::from_sec1_bytes(key).map_err(|_| CryptoError::CertificateParseFailed)?;
    let signature =
        DerSignature::from_bytes(signature).map_err(|_| CryptoError::InvalidSignatureFormat)?;
    let signature = signature
        .try_into()
        .map_err(|_| CryptoError::InvalidSignatureFormat)?;
    let signature: p224::ecdsa::Signature = signature;
    key.verify_prehash(digest::digest(algorithm, data).as_ref(), &signature)
        .map_err(|_| CryptoError::InvalidSignatureFormat)
}

/// Values in DER, one after the other (X.690 8.1).
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    const BIT_STRING: u8 = 0x03;
    const OBJECT_IDENTIFIER: u8 = 0x06;
    const SEQUENCE: u8 = 0x30;

    /// The next value's tag and content. Tags have one byte, lengths up to three.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let more = usize::from(first & 0x7F);
        let (length, rest) = match *first {
            short @ 0..=0x7F => (usize::from(short), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(more)?;
                let length = bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
                (length, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    fn take(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let (tag, content) = self.next()?;
        (tag == wanted).then_some(content)
    }

    fn constructed(&mut self) -> Option<Der<'a>> {
        self.take(Self::SEQUENCE).map(Der)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DATA: &[u8] = b"what was said in the handshake";

    fn bytes(hex: &str) -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(byte).collect()
    }

    /// Name, scheme, certificate, signature.
    fn vectors() -> impl Iterator<Item = (&'static str, u16, Vec<u8>, Vec<u8>)> {
        let lines = include_str!("verify_vectors.txt").lines();
        lines.filter(|line| !line.starts_with('#')).map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            let scheme = u16::from_str_radix(words[1], 16).unwrap();
            (words[0], scheme, bytes(words[2]), bytes(words[3]))
        })
    }

    fn verify(certificate: &[u8], scheme: u16, data: &[u8], signature: &[u8]) -> bool {
        let [hash, kind] = scheme.to_be_bytes();
        let (hash, kind) = (
            HashAlgorithm::from_u8(hash),
            SignatureAlgorithm::from_u8(kind),
        );
        let result = VERIFIER.verify_signature(certificate, data, signature, hash, kind);
        result.is_ok()
    }

    #[test]
    fn signatures_of_openssl_are_verified() {
        let mut count = 0;
        for (name, scheme, certificate, mut signature) in vectors() {
            // AWS-LC has no SHA-384 for a key so small.
            let is_taken = (name, scheme) != ("rsa1024", 0x0501);
            let seen = verify(&certificate, scheme, DATA, &signature);
            assert_eq!(seen, is_taken, "{name} {scheme:04x}");
            assert!(!verify(&certificate, scheme, b"something else", &signature));
            // Nor under another scheme's name.
            for other in [0x0201, 0x0203, 0x0401, 0x0403, 0x0503, 0x0804, 0x0807] {
                assert!(other == scheme || !verify(&certificate, other, DATA, &signature));
            }
            let last = signature.len() - 1;
            signature[last] ^= 1;
            assert!(!verify(&certificate, scheme, DATA, &signature), "{name}");
            count += 1;
        }
        assert!(count > 20);
    }

    #[test]
    fn certificates_in_part_are_none() {
        let (_, _, certificate, _) = vectors().next().unwrap();
        assert!(PublicKey::of(&certificate).is_some());
        for length in 0..certificate.len() {
            assert_eq!(PublicKey::of(&certificate[..length]), None);
        }
    }

    proptest! {
        #[test]
        fn never_panics(which in 0usize..25, at in 0usize..400, value: u8, signature: Vec<u8>) {
            let (_, scheme, mut certificate, _) = vectors().nth(which).unwrap();
            let at = at % certificate.len();
            certificate[at] = value;
            let _ = verify(&certificate, scheme, DATA, &signature);
        }

        #[test]
        fn never_panics_on_anything(bytes: Vec<u8>) {
            let _ = PublicKey::of(&bytes);
        }
    }
}
