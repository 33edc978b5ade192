//! What every answer says that is not a success.

use serde::{Deserialize, Serialize};

/// What went wrong, RFC 9457: the body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OperatorProblem {
    /// What went wrong, in one line.
    pub(crate) detail: String,
    /// A stable word for it, such as `unknown-agent`.
    #[serde(default)]
    pub(crate) code: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}
