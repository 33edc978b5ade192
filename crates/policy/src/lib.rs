#![doc = include_str!("../README.md")]

mod bundle;
mod claims;
mod decision;
mod facts;
mod fault;
mod grant;
mod policy;
mod principal;

pub use bundle::{Bundle, Limits};
pub use claims::{
    AccessClaims, Appraisal, AppraisalResult, BearerClaims, Confirmation, MalformedConfirmation,
};
pub use decision::{DecisionEvent, DecisionId, Denial, Explanation, Permit, PolicyError, Request};
pub use facts::{ChannelFacts, ClientCertificate, Facts, UnfitToken};
pub use fault::{BundleError, Fault};
pub use grant::{Grant, InvalidGrant};
pub use policy::Policy;
pub use principal::{Principal, UnfitName};
