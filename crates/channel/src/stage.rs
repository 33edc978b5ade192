//! Stages: how far a listener has come in its migration, and what that lets connect.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::profile::Profile;

/// A step of the migration from classical to post-quantum cryptography.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Agents only, with ML-DSA both ways, unless the listener admits agentless clients by name.
    Strict,
    /// Post-quantum key exchange always; the certificates of agentless clients may be classical.
    #[default]
    Hybrid,
    /// As `hybrid`, and classical key exchange where an exception says so.
    ClassicalCanary,
}

/// Which of the two kinds of client a channel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It asked for the gateway itself, by the gateway's own server name.
    Agent,
    /// Any other TLS 1.3 client, which asked for a service or for nothing in particular.
    Agentless,
}

/// A stage and a profile that hold together: what a listener is configured with.
///
/// ```
/// use countersign_channel::{Profile, Rules, Stage};
///
/// assert!(Rules::new(Stage::Strict, Profile::HybridV1).is_ok());
/// let refused = Rules::new(Stage::Strict, Profile::FipsHybridV1).unwrap_err();
/// assert!(refused.to_string().contains("`strict`"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    stage: Stage,
    profile: Profile,
}

/// What a stage and a profile let one kind of client do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Admission {
    /// It may connect with post-quantum key exchange, and with nothing else.
    PostQuantum,
    /// As above, and only where the listener has `admit_agentless` set.
    PostQuantumIfListed,
    /// Post-quantum key exchange, or a classical one under an exception.
    ClassicalUnderException,
}

/// A stage and a profile that cannot both hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "stage `{stage}` and profile `{profile}` cannot both hold: the stage wants agents with ML-DSA certificates, the profile allows ECDSA only"
)]
pub struct Contradiction {
    /// The stage that was asked for.
    pub stage: Stage,
    /// The profile that was asked for.
    pub profile: Profile,
}

/// No stage has the given name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown stage `{name}`: it is one of strict, hybrid, classical-canary")]
pub struct UnknownStage {
    /// The name that was given.
    pub name: String,
}

impl Stage {
    /// Every stage, the strictest first.
    pub const ALL: [Self; 3] = [Self::Strict, Self::Hybrid, Self::ClassicalCanary];

    /// Its name, such as `classical-canary`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Hybrid => "hybrid",
            Self::ClassicalCanary => "classical-canary",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Stage {
    type Err = UnknownStage;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|stage| stage.name() == name)
            .ok_or_else(|| UnknownStage {
                name: name.to_owned(),
            })
    }
}

impl Kind {
    /// Its name: `agent` or `agentless`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Agentless => "agentless",
        }
    }
}

impl Rules {
    /// The rules of a stage under a profile.
    ///
    /// # Errors
    ///
    /// The two cannot both hold: `strict` wants ML-DSA between agent and gateway, so a profile without it is refused.
    pub const fn new(stage: Stage, profile: Profile) -> Result<Self, Contradiction> {
        if matches!(stage, Stage::Strict) && !profile.has_post_quantum_agents() {
            return Err(Contradiction { stage, profile });
        }
        Ok(Self { stage, profile })
    }

    /// The stage.
    pub const fn stage(self) -> Stage {
        self.stage
    }

    /// The profile.
    pub const fn profile(self) -> Profile {
        self.profile
    }

    /// What this kind of client may do.
    pub const fn admission(self, kind: Kind) -> Admission {
        match (self.stage, kind) {
            (Stage::Strict, Kind::Agentless) => Admission::PostQuantumIfListed,
            (Stage::ClassicalCanary, Kind::Agentless) => Admission::ClassicalUnderException,
            _ => Admission::PostQuantum,
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            stage: Stage::Hybrid,
            profile: Profile::HybridV1,
        }
    }
}

impl Admission {
    /// In words, for a table.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::PostQuantum => "post-quantum key exchange",
            Self::PostQuantumIfListed => "only where the listener says so",
            Self::ClassicalUnderException => {
                "post-quantum key exchange, classical under an exception"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_with_a_profile_without_ml_dsa_is_refused() {
        assert_eq!(
            Rules::new(Stage::Strict, Profile::FipsHybridV1)
                .unwrap_err()
                .to_string(),
            "stage `strict` and profile `fips-hybrid@1` cannot both hold: the stage wants agents with ML-DSA \
             certificates, the profile allows ECDSA only"
        );
    }

    #[test]
    fn every_other_stage_and_profile_hold_together() {
        for stage in Stage::ALL {
            for profile in Profile::ALL {
                let contradiction = stage == Stage::Strict && profile == Profile::FipsHybridV1;
                assert_eq!(Rules::new(stage, profile).is_err(), contradiction);
            }
        }
    }

    #[test]
    fn a_stage_reads_back_from_its_name() {
        for stage in Stage::ALL {
            assert_eq!(stage.name().parse(), Ok(stage));
            assert_eq!(serde_json::to_value(stage).unwrap(), stage.name());
        }
        assert!("Strict".parse::<Stage>().is_err());
    }
}
