//! The IANA names and code points of TLS groups, signature schemes and cipher suites.
//!
//! A peer may offer any 16-bit number, so a code point is kept as the number it is and named only when it is shown.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! code_point {
    ($(#[$doc:meta])* $name:ident, $table:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "Named", from = "Named")]
        pub struct $name(pub u16);

        impl $name {
            /// The number on the wire.
            pub const fn code_point(self) -> u16 {
                self.0
            }

            /// The IANA name, `GREASE` for a reserved value of RFC 8701, or the number in hexadecimal.
            pub fn name(self) -> Cow<'static, str> {
                name($table, self.0)
            }

            /// The code point with this IANA name, if it is one that this crate knows.
            pub fn named(name: &str) -> Option<Self> {
                $table.iter().find(|(_, known)| *known == name).map(|(code, _)| Self(*code))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.name())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} ({:#06x})", self.name(), self.0)
            }
        }

        impl From<$name> for Named {
            fn from(value: $name) -> Self {
                Self { name: value.name(), code_point: value.0 }
            }
        }

        impl From<Named> for $name {
            fn from(value: Named) -> Self {
                Self(value.code_point)
            }
        }
    };
}

code_point! {
    /// A key exchange group: the IANA registry "TLS Supported Groups".
    Group, GROUPS
}

code_point! {
    /// A signature scheme: the IANA registry "TLS SignatureScheme".
    Scheme, SCHEMES
}

code_point! {
    /// A cipher suite: the IANA registry "TLS Cipher Suites".
    Suite, SUITES
}

impl Group {
    /// X25519 with ML-KEM-768.
    pub const X25519_MLKEM768: Self = Self(0x11ec);
    /// P-256 with ML-KEM-768.
    pub const SECP256R1_MLKEM768: Self = Self(0x11eb);
    /// P-384 with ML-KEM-1024.
    pub const SECP384R1_MLKEM1024: Self = Self(0x11ed);
    /// ML-KEM-1024 alone.
    pub const MLKEM1024: Self = Self(0x0202);
    /// X25519, which is classical.
    pub const X25519: Self = Self(0x001d);
    /// P-256, which is classical.
    pub const SECP256R1: Self = Self(0x0017);
    /// P-384, which is classical.
    pub const SECP384R1: Self = Self(0x0018);

    /// Whether the group holds an ML-KEM part, so that a session recorded today stays secret.
    pub const fn is_post_quantum(self) -> bool {
        matches!(self.0, 0x0200..=0x0202 | 0x11eb..=0x11ee | 0x6399 | 0x639a)
    }
}

impl Scheme {
    /// ML-DSA-65.
    pub const MLDSA65: Self = Self(0x0905);
    /// ML-DSA-87.
    pub const MLDSA87: Self = Self(0x0906);
    /// ECDSA on P-256 with SHA-256.
    pub const ECDSA_P256: Self = Self(0x0403);
    /// ECDSA on P-384 with SHA-384.
    pub const ECDSA_P384: Self = Self(0x0503);
    /// Ed25519.
    pub const ED25519: Self = Self(0x0807);
    /// RSA-PSS with SHA-256.
    pub const RSA_PSS_SHA256: Self = Self(0x0804);
    /// RSA-PSS with SHA-384.
    pub const RSA_PSS_SHA384: Self = Self(0x0805);
    /// RSA-PSS with SHA-512.
    pub const RSA_PSS_SHA512: Self = Self(0x0806);

    /// Whether a quantum computer could not forge it.
    pub const fn is_post_quantum(self) -> bool {
        matches!(self.0, 0x0904..=0x0906 | 0x0911..=0x091c)
    }
}

impl Suite {
    /// AES-256-GCM with SHA-384.
    pub const AES_256_GCM_SHA384: Self = Self(0x1302);
    /// AES-128-GCM with SHA-256.
    pub const AES_128_GCM_SHA256: Self = Self(0x1301);
    /// ChaCha20-Poly1305 with SHA-256.
    pub const CHACHA20_POLY1305_SHA256: Self = Self(0x1303);
}

/// How a code point is written in JSON; when it is read, only the number counts.
#[derive(Serialize, Deserialize)]
struct Named {
    name: Cow<'static, str>,
    code_point: u16,
}

fn name(table: &[(u16, &'static str)], code: u16) -> Cow<'static, str> {
    if let Some((_, name)) = table.iter().find(|(known, _)| *known == code) {
        return Cow::Borrowed(name);
    }
    let [high, low] = code.to_be_bytes();
    if high == low && low & 0x0f == 0x0a {
        return Cow::Borrowed("GREASE");
    }
    Cow::Owned(format!("{code:#06x}"))
}

const GROUPS: &[(u16, &str)] = &[
    (0x0017, "secp256r1"),
    (0x0018, "secp384r1"),
    (0x0019, "secp521r1"),
    (0x001a, "brainpoolP256r1"),
    (0x001b, "brainpoolP384r1"),
    (0x001c, "brainpoolP512r1"),
    (0x001d, "x25519"),
    (0x001e, "x448"),
    (0x0100, "ffdhe2048"),
    (0x0101, "ffdhe3072"),
    (0x0102, "ffdhe4096"),
    (0x0103, "ffdhe6144"),
    (0x0104, "ffdhe8192"),
    (0x0200, "MLKEM512"),
    (0x0201, "MLKEM768"),
    (0x0202, "MLKEM1024"),
    (0x11eb, "SecP256r1MLKEM768"),
    (0x11ec, "X25519MLKEM768"),
    (0x11ed, "SecP384r1MLKEM1024"),
    (0x11ee, "curveSM2MLKEM768"),
    (0x6399, "X25519Kyber768Draft00"),
    (0x639a, "SecP256r1Kyber768Draft00"),
];

const SCHEMES: &[(u16, &str)] = &[
    (0x0201, "rsa_pkcs1_sha1"),
    (0x0203, "ecdsa_sha1"),
    (0x0401, "rsa_pkcs1_sha256"),
    (0x0403, "ecdsa_secp256r1_sha256"),
    (0x0501, "rsa_pkcs1_sha384"),
    (0x0503, "ecdsa_secp384r1_sha384"),
    (0x0601, "rsa_pkcs1_sha512"),
    (0x0603, "ecdsa_secp521r1_sha512"),
    (0x0804, "rsa_pss_rsae_sha256"),
    (0x0805, "rsa_pss_rsae_sha384"),
    (0x0806, "rsa_pss_rsae_sha512"),
    (0x0807, "ed25519"),
    (0x0808, "ed448"),
    (0x0809, "rsa_pss_pss_sha256"),
    (0x080a, "rsa_pss_pss_sha384"),
    (0x080b, "rsa_pss_pss_sha512"),
    (0x081a, "ecdsa_brainpoolP256r1tls13_sha256"),
    (0x081b, "ecdsa_brainpoolP384r1tls13_sha384"),
    (0x081c, "ecdsa_brainpoolP512r1tls13_sha512"),
    (0x0904, "mldsa44"),
    (0x0905, "mldsa65"),
    (0x0906, "mldsa87"),
];

const SUITES: &[(u16, &str)] = &[
    (0x00ff, "TLS_EMPTY_RENEGOTIATION_INFO_SCSV"),
    (0x1301, "TLS_AES_128_GCM_SHA256"),
    (0x1302, "TLS_AES_256_GCM_SHA384"),
    (0x1303, "TLS_CHACHA20_POLY1305_SHA256"),
    (0x1304, "TLS_AES_128_CCM_SHA256"),
    (0x1305, "TLS_AES_128_CCM_8_SHA256"),
    (0x5600, "TLS_FALLBACK_SCSV"),
    (0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    (0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    (0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    (0xc030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    (0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    (0xcca9, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: u16, name: &str) {
        assert_eq!(Group(code).name(), name);
    }

    #[test]
    fn a_known_group_has_its_iana_name() {
        check(0x11ed, "SecP384r1MLKEM1024");
    }

    #[test]
    fn a_reserved_value_is_grease() {
        check(0x7a7a, "GREASE");
    }

    #[test]
    fn an_unknown_group_is_shown_as_its_number() {
        check(0xfe01, "0xfe01");
    }

    #[test]
    fn a_code_point_reads_back_from_its_json() {
        let json = serde_json::to_string(&Suite::AES_256_GCM_SHA384).unwrap();
        assert_eq!(
            json,
            r#"{"name":"TLS_AES_256_GCM_SHA384","code_point":4866}"#
        );
        assert_eq!(
            serde_json::from_str::<Suite>(&json).unwrap(),
            Suite::AES_256_GCM_SHA384
        );
    }
}
