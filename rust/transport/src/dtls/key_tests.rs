//! Peers with keys of every kind, in both roles.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use dimpl::CryptoError;
use dimpl::crypto::{Buf, HashAlgorithm, KeyProvider, SignatureAlgorithm, SigningKey};

use super::*;

/// What the first byte of a private key names here; the rest is PKCS #8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    P256,
    P384,
    P521,
    Ed25519,
    Rsa256,
    Rsa384,
    Rsa512,
    Pss256,
}

const KINDS: [Kind; 8] = [
    Kind::P256,
    Kind::P384,
    Kind::P521,
    Kind::Ed25519,
    Kind::Rsa256,
    Kind::Rsa384,
    Kind::Rsa512,
    Kind::Pss256,
];

#[derive(Debug)]
struct Keys;

#[derive(Debug)]
enum Secret {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair, Kind),
}

#[derive(Debug)]
struct Key(Secret, [HashAlgorithm; 1], SignatureAlgorithm);

impl KeyProvider for Keys {
    fn load_private_key(&self, key: &[u8]) -> Result<Box<dyn SigningKey>, CryptoError> {
        use HashAlgorithm as H;
        use SignatureAlgorithm as S;
        let pkcs8 = &key[1..];
        let ecdsa = |algorithm| Secret::Ecdsa(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8).unwrap());
        let kind = KINDS[usize::from(key[0])];
        let rsa = || Secret::Rsa(RsaKeyPair::from_pkcs8(pkcs8).unwrap(), kind);
        let (secret, hash, scheme) = match kind {
            Kind::P256 => (ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING), H::SHA256, S::ECDSA),
            Kind::P384 => (ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING), H::SHA384, S::ECDSA),
            Kind::P521 => (ecdsa(&ECDSA_P521_SHA512_ASN1_SIGNING), H::SHA512, S::ECDSA),
            Kind::Ed25519 => {
                let secret = Secret::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8).unwrap());
                (secret, H::INTRINSIC, S::ED25519)
            }
            Kind::Rsa256 => (rsa(), H::SHA256, S::RSA),
            Kind::Rsa384 => (rsa(), H::SHA384, S::RSA),
            Kind::Rsa512 => (rsa(), H::SHA512, S::RSA),
            Kind::Pss256 => (rsa(), H::INTRINSIC, S::PSS_SHA256),
        };
        Ok(Box::new(Key(secret, [hash], scheme)))
    }
}

impl SigningKey for Key {
    fn sign(&mut self, data: &[u8], _: HashAlgorithm, out: &mut Buf) -> Result<(), CryptoError> {
        let random = SystemRandom::new();
        out.clear();
        match &self.0 {
            Secret::Ecdsa(key) => out.extend_from_slice(key.sign(&random, data).unwrap().as_ref()),
            Secret::Ed25519(key) => out.extend_from_slice(key.sign(data).as_ref()),
            Secret::Rsa(key, kind) => {
                let padding: &dyn RsaEncoding = match kind {
                    Kind::Rsa384 => &RSA_PKCS1_SHA384,
                    Kind::Rsa512 => &RSA_PKCS1_SHA512,
                    Kind::Pss256 => &RSA_PSS_SHA256,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(padding, &random, data, &mut signature).unwrap();
                out.extend_from_slice(&signature);
            }
        }
        Ok(())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.2
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        self.1[0]
    }

    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        &self.1
    }
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let [.., high, low] = content.len().to_be_bytes();
    let mut value = vec![tag, 0x82, high, low];
    value.extend(content);
    value
}

/// A certificate of version 1 with a name of this length and a signature that nobody made: only the
/// key in it counts.
fn certificate(key: &[u8], name: usize) -> Vec<u8> {
    let algorithm = der(0x30, &[&[6, 3, 0x2A, 3, 4]]);
    let nothing = der(0x30, &[]);
    let subject = der(0x30, &[&der(0x0C, &[&vec![b'x'; name]])]);
    let serial = [2, 1, 0xFF];
    let fields: [&[u8]; 6] = [&serial, &algorithm, &nothing, &nothing, &subject, key];
    der(
        0x30,
        &[&der(0x30, &fields), &algorithm, &der(3, &[&[0, 1]])],
    )
}

fn identity(kind: Kind, name: usize) -> DtlsIdentity {
    let pkcs8 = |document: &dyn AsRef<[u8]>| document.as_ref().to_vec();
    let ecdsa = |algorithm| {
        let key = EcdsaKeyPair::generate(algorithm).unwrap();
        let public = key.public_key().as_der().unwrap().as_ref().to_vec();
        (pkcs8(&key.to_pkcs8v1().unwrap()), public)
    };
    let (private, public) = match kind {
        Kind::P256 => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING),
        Kind::P384 => ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING),
        Kind::P521 => ecdsa(&ECDSA_P521_SHA512_ASN1_SIGNING),
        Kind::Ed25519 => {
            let key = Ed25519KeyPair::generate().unwrap();
            let public = key.public_key().as_der().unwrap().as_ref().to_vec();
            (pkcs8(&key.to_pkcs8v1().unwrap()), public)
        }
        _ => {
            let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
            let public = key.public_key().as_der().unwrap().as_ref().to_vec();
            let private = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&key).unwrap();
            (private.as_ref().to_vec(), public)
        }
    };
    let certificate = certificate(&public, name);
    let index = KINDS.iter().position(|known| *known == kind).unwrap() as u8;
    let usual = DtlsIdentity::generate().unwrap();
    let provider = dimpl::crypto::CryptoProvider {
        key_provider: &Keys,
        ..usual.config.crypto_provider().clone()
    };
    let config = dimpl::Config::builder()
        .with_crypto_provider(provider)
        .use_server_cookie(false)
        .build()
        .unwrap();
    DtlsIdentity {
        fingerprint: Arc::new(Fingerprint::sha256(&certificate)),
        certificate: Arc::new(DtlsCertificate {
            certificate,
            private_key: [&[index][..], &private].concat(),
        }),
        config: Arc::new(config),
    }
}

/// Our session and the peer's, after all that they have to say.
fn meet(peers: &DtlsIdentity, peer_is_client: bool) -> [Session; 2] {
    let now = Instant::now();
    let own = DtlsIdentity::generate().unwrap();
    let mut ours = super::tests::session(now, &own, peers, !peer_is_client);
    let mut theirs = super::tests::session(now, peers, &own, peer_is_client);
    while !(ours.packets.is_empty() && theirs.packets.is_empty()) {
        while let Some(packet) = theirs.packets.pop_front() {
            ours.handle_packet(now, &packet);
        }
        while let Some(packet) = ours.packets.pop_front() {
            theirs.handle_packet(now, &packet);
        }
    }
    [ours, theirs]
}

#[test]
fn keys_of_every_kind_connect() {
    for kind in KINDS {
        let peers = identity(kind, 10);
        for peer_is_client in [true, false] {
            if matches!(kind, Kind::Pss256 | Kind::Ed25519) && !peer_is_client {
                // The engine that plays the peer finds no suite for these.
                continue;
            }
            let sessions = meet(&peers, peer_is_client);
            for session in &sessions {
                let state = (session.state(), session.reason());
                assert_eq!(
                    state,
                    (DtlsState::Connected, ""),
                    "{kind:?} {peer_is_client}"
                );
                assert!(session.profile().is_some());
            }
        }
    }
}

/// Larger than any buffer begins with.
#[test]
fn large_certificates_connect() {
    for peer_is_client in [true, false] {
        for session in meet(&identity(Kind::P256, 9_000), peer_is_client) {
            assert_eq!(
                (session.state(), session.reason()),
                (DtlsState::Connected, "")
            );
        }
    }
}

/// The messages of a datagram in fragments of 200 bytes, in one datagram all the same.
fn in_pieces(packet: &[u8]) -> Vec<u8> {
    let mut rest = packet;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let length = 13 + usize::from(u16::from_be_bytes([rest[11], rest[12]]));
        let (record, behind) = rest.split_at(length);
        rest = behind;
        if (record[0], record[4]) != (22, 0) {
            pieces.extend(record);
            continue;
        }
        for (index, piece) in record[25..].chunks(200).enumerate() {
            let begins = u32::from_be_bytes([0, record[19], record[20], record[21]]);
            let (at, size) = (begins + 200 * index as u32, piece.len() as u32);
            pieces.extend(&record[..11]);
            pieces.extend((size as u16 + 12).to_be_bytes());
            pieces.extend(&record[13..19]);
            pieces.extend(&at.to_be_bytes()[1..]);
            pieces.extend(&size.to_be_bytes()[1..]);
            pieces.extend(piece);
        }
    }
    pieces
}

/// So does OpenSSL where it does not know how large a datagram may be.
#[test]
fn a_flight_in_very_many_records_connects() {
    let now = Instant::now();
    let own = DtlsIdentity::generate().unwrap();
    let peers = identity(Kind::Rsa256, 600);
    let mut ours = super::tests::session(now, &own, &peers, false);
    let mut theirs = super::tests::session(now, &peers, &own, true);
    while let Some(packet) = theirs.packets.pop_front() {
        ours.handle_packet(now, &in_pieces(&packet));
        while let Some(packet) = ours.packets.pop_front() {
            theirs.handle_packet(now, &packet);
        }
    }
    assert_eq!((ours.state(), ours.reason()), (DtlsState::Connected, ""));
}
