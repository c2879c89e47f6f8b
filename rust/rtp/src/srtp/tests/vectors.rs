//! Test vectors of RFC 3711 B.2 and B.3, RFC 6188 7.2, and RFC 7714 16 and 17.

use crate::srtp::cipher::{Cipher, Cm, Gcm};
use crate::srtp::kdf::{Label, Prf};
use crate::srtp::{SrtpContext, SrtpProfile};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn hex_array<const N: usize>(text: &str) -> [u8; N] {
    hex(text).try_into().unwrap()
}

/// RFC 3711 B.2: the key stream is the ciphertext of zeros at index 0 of SSRC 0.
#[test]
fn rfc3711_b2_aes_cm_key_stream() {
    let key = hex_array("2B7E151628AED2A6ABF7158809CF4F3C");
    let salt = hex_array("F0F1F2F3F4F5F6F7F8F9FAFBFCFD");
    let cm = Cm::new(&key, salt, &[0; 20]).unwrap();
    let mut buf = vec![0; 12 + 0xff02 * 16 + 10];
    cm.seal_rtp(&mut buf, 12, 0, 0).unwrap();
    let blocks = [
        (0x0000, "E03EAD0935C95E80E166B16DD92B4EB4"),
        (0x0001, "D23513162B02D0F72A43A2FE4A5F97AB"),
        (0x0002, "41E95B3BB0A2E8DD477901E4FCA894C0"),
        (0xfeff, "EC8CDF7398607CB0F2D21675EA9EA1E4"),
        (0xff00, "362B7C3C6773516318A077D7FC5073AE"),
        (0xff01, "6A2CC3787889374FBEB4C81B17BA6C44"),
    ];
    for (block, expected) in blocks {
        let at = 12 + 16 * block;
        assert_eq!(buf[at..at + 16], hex(expected), "block {block:#x}");
    }
}

#[test]
fn rfc3711_b3_key_derivation() {
    let prf = Prf::new(
        &hex("E1F97A0D3E018BE0D64FA32C06DE4139"),
        &hex("0EC675AD498AFEEBB6960B3AABE6"),
    )
    .unwrap();
    let key = prf.derive::<16>(Label::RtpKey).unwrap();
    assert_eq!(key, hex_array("C61E7A93744F39EE10734AFE3FF7A087"));
    let salt = prf.derive::<14>(Label::RtpSalt).unwrap();
    assert_eq!(salt, hex_array("30CBBC08863D8C85D49DB34A9AE1"));
    let auth = prf.derive::<94>(Label::RtpAuth).unwrap();
    let expected = "CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE
        E049646C43D9327AD175578EF7227098 6371C10C9A369AC2F94A8C5FBCDDDC25
        6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2";
    assert_eq!(auth, hex_array(expected));
}

#[test]
fn rfc6188_7_2_key_derivation_with_aes_256() {
    let prf = Prf::new(
        &hex("f0f04914b513f2763a1b1fa130f10e29 98f6f6e43e4309d1e622a0e332b9f1b6"),
        &hex("3b04803de51ee7c96423ab5b78d2"),
    )
    .unwrap();
    let key = prf.derive::<32>(Label::RtpKey).unwrap();
    let expected = "5ba1064e30ec51613cad926c5a28ef73 1ec7fb397f70a960653caf06554cd8c4";
    assert_eq!(key, hex_array(expected));
    let salt = prf.derive::<14>(Label::RtpSalt).unwrap();
    assert_eq!(salt, hex_array("fa31791685ca444a9e07c6c64e93"));
    let auth = prf.derive::<20>(Label::RtpAuth).unwrap();
    assert_eq!(auth, hex_array("fd9c32d39ed5fbb5a9dc96b30818454d1313dc05"));
}

const GCM_KEY: &str = "000102030405060708090a0b0c0d0e0f 101112131415161718191a1b1c1d1e1f";

fn gcm(key_len: usize) -> Cipher {
    let salt = hex_array("51756964 2070726f 2071756f");
    Cipher::Gcm(Gcm::new(&hex(GCM_KEY)[..key_len], salt).unwrap())
}

const RTP_PLAIN: &str = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973
    20646976 69736120 696e2070 61727465 73207472 6573";

/// Seals, compares, opens, compares.
fn check_rtp(key_len: usize, expected: &str) {
    let cipher = gcm(key_len);
    let plain = hex(RTP_PLAIN);
    let mut packet = plain.clone();
    packet.resize(plain.len() + 16, 0);
    cipher
        .seal_rtp(&mut packet, 12, 0x5501_a0b2, 0xf17b)
        .unwrap();
    assert_eq!(packet, hex(expected));
    let len = cipher
        .open_rtp(&mut packet, 12, 0x5501_a0b2, 0xf17b)
        .unwrap();
    assert_eq!(packet[..len], plain);
}

#[test]
fn rfc7714_16_1_srtp_aes_128_gcm() {
    check_rtp(
        16,
        "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5
        0d294e6f 42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
    );
}

#[test]
fn rfc7714_16_2_srtp_aes_256_gcm() {
    check_rtp(
        32,
        "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238
        9a58e2f3 b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
    );
}

const RTCP_PLAIN: &str = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930
    4c756e61 deadbeef deadbeef deadbeef deadbeef deadbeef";

const RTCP_SSRC: u32 = 0x4d61_7273;

/// Seals, compares, opens, compares.
fn check_rtcp(key_len: usize, expected: &str) {
    let cipher = gcm(key_len);
    let mut packet = hex(RTCP_PLAIN);
    packet.resize(packet.len() + 20, 0);
    cipher.seal_rtcp(&mut packet, RTCP_SSRC, 0x5d4).unwrap();
    assert_eq!(packet, hex(expected));
    check_rtcp_open(&cipher, packet);
}

fn check_rtcp_open(cipher: &Cipher, mut packet: Vec<u8>) {
    assert_eq!(
        cipher.rtcp_word(&packet),
        crate::srtp::RTCP_ENCRYPTED | 0x5d4
    );
    let len = cipher.open_rtcp(&mut packet, RTCP_SSRC, 0x5d4).unwrap();
    assert_eq!(packet[..len], hex(RTCP_PLAIN));
}

#[test]
fn rfc7714_17_1_srtcp_aes_128_gcm() {
    check_rtcp(
        16,
        "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1
        730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
    );
}

#[test]
fn rfc7714_17_2_srtcp_aes_256_gcm() {
    check_rtcp(
        32,
        "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1
        110555be 8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4",
    );
}

/// Whole packets from master keys: what libsrtp's driver expects for the same keys and packet.
#[test]
fn packets_of_master_keys() {
    let header = "800f1234 decafbad cafebabe";
    let payload = "abababab abababab abababab abababab";
    let cases = [
        (
            SrtpProfile::Aes128CmSha1_80,
            "e1f97a0d3e018be0d64fa32c06de4139",
            "0ec675ad498afeebb6960b3aabe6",
            "4e55dc4c e79978d8 8ca4d215 949d2402 b78d6acc 99ea179b 8dbb",
        ),
        (
            SrtpProfile::AeadAes128Gcm,
            "000102030405060708090a0b0c0d0e0f",
            "a0a1a2a3a4a5a6a7a8a9aaab",
            "c5002ede 04cfdd2e b91159e0 880aa06e d2976826 f796b201 df3131a1 27e8a392",
        ),
    ];
    for (profile, key, salt, sealed) in cases {
        let mut context = SrtpContext::new(profile, &hex(key), &hex(salt)).unwrap();
        let mut packet = [hex(header), hex(payload), vec![0; 16]].concat();
        let len = context.protect_rtp(&mut packet, 12, 28).unwrap();
        assert_eq!(packet[..len], [hex(header), hex(sealed)].concat());
    }
}
