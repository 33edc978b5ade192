//! Profiles: named, versioned lists of what a channel may be made of.
//!
//! A profile's version is frozen: a change of its lists is a new version beside the old one, and a snapshot holds each.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::identity::KeyAlgorithm;
use crate::registry::{Group, Scheme, Suite};

/// A named, versioned list of groups, signature schemes and suites.
///
/// ```
/// use countersign_channel::Profile;
///
/// let profile = Profile::named("hybrid@1")?;
/// assert_eq!(profile.groups()[0].name(), "X25519MLKEM768");
/// # Ok::<(), countersign_channel::profile::UnknownProfile>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum Profile {
    /// `cnsa2@1`: pure ML-KEM-1024 and ML-DSA-87, as CNSA 2.0 asks.
    Cnsa2V1,
    /// `hybrid-high@1`: the hybrid of P-384 and ML-KEM-1024, with ML-DSA-87.
    HybridHighV1,
    /// `hybrid@1`: the default; hybrids with ML-KEM-768, and ML-DSA-65.
    #[default]
    HybridV1,
    /// `fips-hybrid@1`: hybrids whose classical half and certificates are of FIPS 186-5 and SP 800-56A.
    FipsHybridV1,
}

/// The version of the symmetric PASETO that access tokens have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenVersion {
    /// `v3.local`: AES-256-CTR and HMAC-SHA-384.
    V3,
    /// `v4.local`: XChaCha20 and keyed BLAKE2b.
    V4,
}

/// The hash that a profile uses outside the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Hash {
    /// SHA-384.
    #[serde(rename = "SHA-384")]
    Sha384,
    /// BLAKE2b.
    #[serde(rename = "BLAKE2b")]
    Blake2b,
}

/// Something that stays classical under a profile, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Residue {
    /// What it is, in a few words.
    pub what: &'static str,
    /// Which classical algorithm it rests on, and why it stays.
    pub why: &'static str,
}

/// No profile has the given name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown profile `{name}`: it is one of cnsa2@1, hybrid-high@1, hybrid@1, fips-hybrid@1")]
pub struct UnknownProfile {
    /// The name that was given.
    pub name: String,
}

impl Profile {
    /// Every profile there is, the most demanding first.
    pub const ALL: [Self; 4] = [
        Self::Cnsa2V1,
        Self::HybridHighV1,
        Self::HybridV1,
        Self::FipsHybridV1,
    ];

    /// The profile with this name and version.
    ///
    /// # Errors
    ///
    /// No profile is called so.
    pub fn named(name: &str) -> Result<Self, UnknownProfile> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.name() == name)
            .ok_or_else(|| UnknownProfile {
                name: name.to_owned(),
            })
    }

    /// Its name and version, such as `hybrid@1`.
    pub const fn name(self) -> &'static str {
        self.definition().name
    }

    /// The groups it allows, the most preferred first.
    pub const fn groups(self) -> &'static [Group] {
        self.definition().groups
    }

    /// The classical groups that an exception of a `classical-canary` listener may let through.
    pub const fn canary_groups(self) -> &'static [Group] {
        self.definition().canary_groups
    }

    /// The suites it allows, the most preferred first.
    pub const fn suites(self) -> &'static [Suite] {
        self.definition().suites
    }

    /// The signature schemes between agent and gateway: of both leaves, and of the anchors above them.
    pub const fn agent_schemes(self) -> &'static [Scheme] {
        self.definition().agent_schemes
    }

    /// The signature schemes that a certificate for agentless clients may have.
    pub const fn agentless_schemes(self) -> &'static [Scheme] {
        self.definition().agentless_schemes
    }

    /// The algorithm of a fresh key of an agent or a gateway.
    pub const fn leaf_key(self) -> KeyAlgorithm {
        self.definition().leaf_key
    }

    /// The algorithm of the anchor that issues under it.
    pub const fn anchor_key(self) -> KeyAlgorithm {
        self.definition().anchor_key
    }

    /// The version of its access tokens.
    pub const fn token_version(self) -> TokenVersion {
        self.definition().token_version
    }

    /// The hash it uses outside the handshake.
    pub const fn hash(self) -> Hash {
        self.definition().hash
    }

    /// What stays classical under it.
    pub const fn residues(self) -> &'static [Residue] {
        self.definition().residues
    }

    /// Whether agents under it authenticate with ML-DSA.
    pub const fn has_post_quantum_agents(self) -> bool {
        self.leaf_key().is_post_quantum()
    }

    const fn definition(self) -> &'static Definition {
        match self {
            Self::Cnsa2V1 => &CNSA2_V1,
            Self::HybridHighV1 => &HYBRID_HIGH_V1,
            Self::HybridV1 => &HYBRID_V1,
            Self::FipsHybridV1 => &FIPS_HYBRID_V1,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::named(name)
    }
}

impl From<Profile> for &'static str {
    fn from(profile: Profile) -> Self {
        profile.name()
    }
}

impl TryFrom<String> for Profile {
    type Error = UnknownProfile;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::named(&name)
    }
}

impl TokenVersion {
    /// The header of such a token without its dots: `v3.local` or `v4.local`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V3 => "v3.local",
            Self::V4 => "v4.local",
        }
    }
}

impl Hash {
    /// Its name, as its standard spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha384 => "SHA-384",
            Self::Blake2b => "BLAKE2b",
        }
    }
}

#[derive(Serialize)]
struct Definition {
    name: &'static str,
    groups: &'static [Group],
    canary_groups: &'static [Group],
    suites: &'static [Suite],
    agent_schemes: &'static [Scheme],
    agentless_schemes: &'static [Scheme],
    leaf_key: KeyAlgorithm,
    anchor_key: KeyAlgorithm,
    token_version: TokenVersion,
    hash: Hash,
    residues: &'static [Residue],
}

const CNSA2_V1: Definition = Definition {
    name: "cnsa2@1",
    groups: &[Group::MLKEM1024],
    canary_groups: &[Group::SECP384R1],
    suites: &[Suite::AES_256_GCM_SHA384],
    agent_schemes: &[Scheme::MLDSA87],
    agentless_schemes: &[Scheme::MLDSA87],
    leaf_key: KeyAlgorithm::MlDsa87,
    anchor_key: KeyAlgorithm::MlDsa87,
    // XChaCha20 and BLAKE2b of `v4.local` are not in CNSA 2.0.
    token_version: TokenVersion::V3,
    hash: Hash::Sha384,
    residues: &[CHECKPOINTS, IDENTITY_TOKENS, QUOTES],
};

const HYBRID_HIGH_V1: Definition = Definition {
    name: "hybrid-high@1",
    groups: &[Group::SECP384R1_MLKEM1024],
    canary_groups: &[Group::SECP384R1],
    suites: &[Suite::AES_256_GCM_SHA384],
    agent_schemes: &[Scheme::MLDSA87],
    agentless_schemes: &[Scheme::ECDSA_P384],
    leaf_key: KeyAlgorithm::MlDsa87,
    anchor_key: KeyAlgorithm::MlDsa87,
    token_version: TokenVersion::V4,
    hash: Hash::Blake2b,
    residues: &[AGENTLESS_CERTIFICATES, CHECKPOINTS, IDENTITY_TOKENS, QUOTES],
};

const HYBRID_V1: Definition = Definition {
    name: "hybrid@1",
    groups: &[Group::X25519_MLKEM768, Group::SECP256R1_MLKEM768],
    canary_groups: &[Group::X25519, Group::SECP256R1, Group::SECP384R1],
    suites: &[Suite::AES_256_GCM_SHA384, Suite::CHACHA20_POLY1305_SHA256],
    // Leaves are ML-DSA-65; the anchor above them is ML-DSA-87, and TLS has one list for both.
    agent_schemes: &[Scheme::MLDSA65, Scheme::MLDSA87],
    agentless_schemes: &[
        Scheme::ECDSA_P256,
        Scheme::ECDSA_P384,
        Scheme::ED25519,
        Scheme::RSA_PSS_SHA256,
        Scheme::RSA_PSS_SHA384,
        Scheme::RSA_PSS_SHA512,
        Scheme::MLDSA65,
        Scheme::MLDSA87,
    ],
    leaf_key: KeyAlgorithm::MlDsa65,
    anchor_key: KeyAlgorithm::MlDsa87,
    token_version: TokenVersion::V4,
    hash: Hash::Blake2b,
    residues: &[AGENTLESS_CERTIFICATES, CHECKPOINTS, IDENTITY_TOKENS, QUOTES],
};

const FIPS_HYBRID_V1: Definition = Definition {
    name: "fips-hybrid@1",
    groups: &[Group::SECP256R1_MLKEM768, Group::X25519_MLKEM768],
    canary_groups: &[Group::SECP256R1, Group::SECP384R1],
    suites: &[Suite::AES_256_GCM_SHA384, Suite::AES_128_GCM_SHA256],
    agent_schemes: &[Scheme::ECDSA_P256, Scheme::ECDSA_P384],
    agentless_schemes: &[Scheme::ECDSA_P256, Scheme::ECDSA_P384],
    leaf_key: KeyAlgorithm::EcdsaP256,
    anchor_key: KeyAlgorithm::EcdsaP384,
    // XChaCha20 and BLAKE2b of `v4.local` are in no FIPS publication.
    token_version: TokenVersion::V3,
    hash: Hash::Sha384,
    residues: &[
        AGENT_CERTIFICATES,
        AGENTLESS_CERTIFICATES,
        CHECKPOINTS,
        IDENTITY_TOKENS,
        QUOTES,
    ],
};

const AGENT_CERTIFICATES: Residue = Residue {
    what: "certificates of agents and gateways",
    why: "ECDSA P-256 or P-384, since the profile allows nothing else",
};

const AGENTLESS_CERTIFICATES: Residue = Residue {
    what: "certificates for agentless clients",
    why: "classical, since no public authority issues ML-DSA certificates yet",
};

const CHECKPOINTS: Residue = Residue {
    what: "checkpoints of the audit log",
    why: "an Ed25519 signature stands beside the ML-DSA-65 one, for verifiers that have no ML-DSA",
};

const IDENTITY_TOKENS: Residue = Residue {
    what: "identity tokens for upstream services",
    why: "`v4.public` is Ed25519; the draft `v5.public` is ML-DSA-87",
};

const QUOTES: Residue = Residue {
    what: "TPM quotes",
    why: "signed with RSA or ECDSA inside the TPM",
};

#[cfg(test)]
mod tests {
    use super::*;

    /// A snapshot that changes is a profile that changed under its users: make a new version of it.
    #[test]
    fn a_version_of_a_profile_never_changes() {
        for profile in Profile::ALL {
            insta::assert_json_snapshot!(profile.name(), profile.definition());
        }
    }

    #[test]
    fn a_profile_reads_back_from_its_name() {
        for profile in Profile::ALL {
            assert_eq!(profile.name().parse(), Ok(profile));
            let json = serde_json::to_string(&profile).unwrap();
            assert_eq!(serde_json::from_str::<Profile>(&json).unwrap(), profile);
        }
    }

    #[test]
    fn a_profile_without_its_version_is_not_known() {
        assert_eq!(
            Profile::named("hybrid").unwrap_err().to_string(),
            "unknown profile `hybrid`: it is one of cnsa2@1, hybrid-high@1, hybrid@1, fips-hybrid@1"
        );
    }

    #[test]
    fn leaves_and_anchors_are_of_schemes_that_the_profile_allows() {
        for profile in Profile::ALL {
            for key in [profile.leaf_key(), profile.anchor_key()] {
                assert!(
                    profile.agent_schemes().contains(&key.scheme()),
                    "{profile} {key}"
                );
            }
        }
    }
}
