use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

/// A line through a stream, or through many, that can be cut once, with a reason.
///
/// Clones are the same line; a [`child`](Self::child) is cut with its parent and can be cut alone.
#[derive(Clone, Debug, Default)]
pub struct Cut(Arc<Line>);

#[derive(Debug, Default)]
struct Line {
    token: CancellationToken,
    reason: OnceLock<Arc<str>>,
    parent: Option<Cut>,
}

impl Cut {
    /// A line that nothing has cut.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A line that is cut when this one is.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(Arc::new(Line {
            token: self.0.token.child_token(),
            reason: OnceLock::new(),
            parent: Some(self.clone()),
        }))
    }

    /// Cuts the line. The first reason stays.
    pub fn cut(&self, reason: impl Into<Arc<str>>) {
        self.0.reason.get_or_init(|| reason.into());
        self.0.token.cancel();
    }

    /// Why the line was cut, or `None` while it is whole.
    #[must_use]
    pub fn reason(&self) -> Option<Arc<str>> {
        let parent = || self.0.parent.as_ref().and_then(Self::reason);
        self.0.reason.get().cloned().or_else(parent)
    }

    /// Waits until the line is cut, and says why.
    pub async fn wait(&self) -> Arc<str> {
        self.0.token.cancelled().await;
        self.reason().unwrap_or_else(|| Arc::from(""))
    }
}
