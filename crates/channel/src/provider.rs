//! What rustls may use under a profile: groups, suites and signature algorithms, and nothing else.

use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, WebPkiSupportedAlgorithms};
use rustls::pki_types::SignatureVerificationAlgorithm;
use webpki::aws_lc_rs as algorithm;

use crate::group::SECP384R1_MLKEM1024;
use crate::identity::KeyAlgorithm;
use crate::profile::Profile;
use crate::registry::{Group, Suite};

/// The provider of a profile, for agents and gateways and for agentless clients alike.
pub fn crypto_provider(profile: Profile) -> Arc<CryptoProvider> {
    with_groups(profile, profile.groups())
}

/// The provider for TLS to what lies behind a gateway: every post-quantum group first, then the classical ones, since a
/// service may not know better.
pub fn upstream_provider() -> Arc<CryptoProvider> {
    let classical = [Group::X25519, Group::SECP256R1, Group::SECP384R1];
    let post_quantum = [
        Group::X25519_MLKEM768,
        Group::SECP256R1_MLKEM768,
        Group::SECP384R1_MLKEM1024,
        Group::MLKEM1024,
    ];
    let groups = post_quantum.into_iter().chain(classical);
    Arc::new(CryptoProvider {
        kx_groups: groups.filter_map(kx_group).collect(),
        ..default_provider()
    })
}

/// The provider of a channel under an exception: the profile's suites with classical groups alone, so that nobody who
/// could do better ends up with them.
pub(crate) fn canary_provider(profile: Profile) -> Arc<CryptoProvider> {
    with_groups(profile, profile.canary_groups())
}

/// The signature algorithms that a profile allows between agent and gateway.
pub(crate) const fn agent_algorithms(profile: Profile) -> WebPkiSupportedAlgorithms {
    match profile {
        Profile::Cnsa2V1 | Profile::HybridHighV1 => ML_DSA_87_ONLY,
        Profile::HybridV1 => ML_DSA,
        Profile::FipsHybridV1 => ECDSA,
    }
}

/// The signature algorithms that a profile allows in the certificates of agentless clients.
///
/// PKCS #1 is in no list of schemes, since TLS 1.3 has it in no handshake; authorities sign certificates with it to this
/// day, and one whose profile takes RSA takes those (RFC 8446, section 4.2.3).
pub(crate) const fn agentless_algorithms(profile: Profile) -> WebPkiSupportedAlgorithms {
    match profile {
        Profile::Cnsa2V1 => ML_DSA_87_ONLY,
        Profile::HybridHighV1 => ECDSA_P384_ONLY,
        Profile::HybridV1 => ANY,
        Profile::FipsHybridV1 => ECDSA,
    }
}

/// The algorithms with which an authority of this kind may sign.
pub(crate) fn chain_algorithms(
    anchor: KeyAlgorithm,
) -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    match anchor {
        KeyAlgorithm::MlDsa65 | KeyAlgorithm::MlDsa87 => ML_DSA.all,
        KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384 => ECDSA.all,
    }
}

fn with_groups(profile: Profile, groups: &[Group]) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: profile
            .suites()
            .iter()
            .filter_map(|suite| cipher_suite(*suite))
            .collect(),
        kx_groups: groups.iter().filter_map(|group| kx_group(*group)).collect(),
        signature_verification_algorithms: agent_algorithms(profile),
        ..default_provider()
    })
}

fn kx_group(group: Group) -> Option<&'static dyn SupportedKxGroup> {
    Some(match group {
        Group::X25519_MLKEM768 => kx_group::X25519MLKEM768,
        Group::SECP256R1_MLKEM768 => kx_group::SECP256R1MLKEM768,
        Group::SECP384R1_MLKEM1024 => SECP384R1_MLKEM1024,
        Group::MLKEM1024 => kx_group::MLKEM1024,
        Group::X25519 => kx_group::X25519,
        Group::SECP256R1 => kx_group::SECP256R1,
        Group::SECP384R1 => kx_group::SECP384R1,
        _ => return None,
    })
}

fn cipher_suite(suite: Suite) -> Option<SupportedCipherSuite> {
    Some(match suite {
        Suite::AES_256_GCM_SHA384 => cipher_suite::TLS13_AES_256_GCM_SHA384,
        Suite::AES_128_GCM_SHA256 => cipher_suite::TLS13_AES_128_GCM_SHA256,
        Suite::CHACHA20_POLY1305_SHA256 => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        _ => return None,
    })
}

const ML_DSA_87_ONLY: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[algorithm::ML_DSA_87],
    mapping: &[(SignatureScheme::ML_DSA_87, &[algorithm::ML_DSA_87])],
};

const ML_DSA: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[algorithm::ML_DSA_65, algorithm::ML_DSA_87],
    mapping: &[
        (SignatureScheme::ML_DSA_65, &[algorithm::ML_DSA_65]),
        (SignatureScheme::ML_DSA_87, &[algorithm::ML_DSA_87]),
    ],
};

const ECDSA: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[algorithm::ECDSA_P256_SHA256, algorithm::ECDSA_P384_SHA384],
    mapping: &[
        (
            SignatureScheme::ECDSA_NISTP256_SHA256,
            &[algorithm::ECDSA_P256_SHA256],
        ),
        (
            SignatureScheme::ECDSA_NISTP384_SHA384,
            &[algorithm::ECDSA_P384_SHA384],
        ),
    ],
};

const ECDSA_P384_ONLY: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[algorithm::ECDSA_P384_SHA384],
    mapping: &[(
        SignatureScheme::ECDSA_NISTP384_SHA384,
        &[algorithm::ECDSA_P384_SHA384],
    )],
};

const ANY: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        algorithm::ECDSA_P256_SHA256,
        algorithm::ECDSA_P256_SHA384,
        algorithm::ECDSA_P384_SHA256,
        algorithm::ECDSA_P384_SHA384,
        algorithm::ED25519,
        algorithm::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        algorithm::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        algorithm::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        algorithm::RSA_PKCS1_2048_8192_SHA256,
        algorithm::RSA_PKCS1_2048_8192_SHA384,
        algorithm::RSA_PKCS1_2048_8192_SHA512,
        algorithm::ML_DSA_65,
        algorithm::ML_DSA_87,
    ],
    mapping: &[
        (
            SignatureScheme::ECDSA_NISTP256_SHA256,
            &[algorithm::ECDSA_P256_SHA256],
        ),
        (
            SignatureScheme::ECDSA_NISTP384_SHA384,
            &[algorithm::ECDSA_P384_SHA384],
        ),
        (SignatureScheme::ED25519, &[algorithm::ED25519]),
        (
            SignatureScheme::RSA_PSS_SHA256,
            &[algorithm::RSA_PSS_2048_8192_SHA256_LEGACY_KEY],
        ),
        (
            SignatureScheme::RSA_PSS_SHA384,
            &[algorithm::RSA_PSS_2048_8192_SHA384_LEGACY_KEY],
        ),
        (
            SignatureScheme::RSA_PSS_SHA512,
            &[algorithm::RSA_PSS_2048_8192_SHA512_LEGACY_KEY],
        ),
        (SignatureScheme::ML_DSA_65, &[algorithm::ML_DSA_65]),
        (SignatureScheme::ML_DSA_87, &[algorithm::ML_DSA_87]),
        (
            SignatureScheme::RSA_PKCS1_SHA256,
            &[algorithm::RSA_PKCS1_2048_8192_SHA256],
        ),
        (
            SignatureScheme::RSA_PKCS1_SHA384,
            &[algorithm::RSA_PKCS1_2048_8192_SHA384],
        ),
        (
            SignatureScheme::RSA_PKCS1_SHA512,
            &[algorithm::RSA_PKCS1_2048_8192_SHA512],
        ),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Scheme;

    fn check(profile: Profile) {
        let provider = crypto_provider(profile);
        let groups: Vec<Group> = provider
            .kx_groups
            .iter()
            .map(|group| Group(group.name().into()))
            .collect();
        let suites: Vec<Suite> = provider
            .cipher_suites
            .iter()
            .map(|suite| Suite(suite.suite().into()))
            .collect();
        let schemes: Vec<Scheme> = provider
            .signature_verification_algorithms
            .supported_schemes()
            .into_iter()
            .map(|scheme| Scheme(scheme.into()))
            .collect();
        assert_eq!(groups, profile.groups(), "{profile}");
        assert_eq!(suites, profile.suites(), "{profile}");
        assert_eq!(schemes, profile.agent_schemes(), "{profile}");
        assert_eq!(
            canary_provider(profile).kx_groups.len(),
            profile.canary_groups().len(),
            "{profile}"
        );
    }

    #[test]
    fn a_provider_has_what_its_profile_lists_and_nothing_else() {
        Profile::ALL.into_iter().for_each(check);
    }

    #[test]
    fn a_clients_certificate_is_signed_with_what_its_profile_lists() {
        for profile in Profile::ALL {
            let pkcs1 = [0x0401, 0x0501, 0x0601];
            let schemes: Vec<Scheme> = agentless_algorithms(profile)
                .supported_schemes()
                .into_iter()
                .map(|scheme| Scheme(scheme.into()))
                .filter(|scheme| !pkcs1.contains(&scheme.code_point()))
                .collect();
            assert_eq!(schemes, profile.agentless_schemes(), "{profile}");
        }
    }

    #[test]
    fn no_profile_lists_a_classical_group_beside_its_canary() {
        for profile in Profile::ALL {
            assert!(profile.groups().iter().all(|group| group.is_post_quantum()));
            assert!(
                profile
                    .canary_groups()
                    .iter()
                    .all(|group| !group.is_post_quantum())
            );
        }
    }
}
