//! Why a key behind PKCS#11 cannot be used.

use std::path::PathBuf;

/// Why a key behind PKCS#11 cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HsmError {
    /// The library cannot be loaded or does not start.
    #[error("cannot load the PKCS#11 module `{}`: {why}", module.display())]
    Module {
        /// The library.
        module: PathBuf,
        /// What the loader or the library said.
        why: String,
    },
    /// No token is called so.
    #[error("the PKCS#11 module `{}` has no token `{wanted}`: it has {present}", module.display())]
    NoToken {
        /// The library.
        module: PathBuf,
        /// What it should be called.
        wanted: String,
        /// The labels of those that are there.
        present: String,
    },
    /// Several tokens are called so.
    #[error("the PKCS#11 module `{}` has several tokens `{wanted}`", module.display())]
    SeveralTokens {
        /// The library.
        module: PathBuf,
        /// What it should be called.
        wanted: String,
    },
    /// The file with the PIN cannot be used.
    #[error("cannot take the PIN from `{}`: {why}", file.display())]
    PinFile {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The token wants a PIN and no file is named.
    #[error("the token `{token}` wants a PIN, and its URI names no `pin-source`")]
    NoPin {
        /// The token.
        token: String,
    },
    /// The token refused the PIN, which is not tried again.
    #[error("the token `{token}` refused the PIN ({code}); it is not tried again")]
    PinRefused {
        /// The token.
        token: String,
        /// The module's word.
        code: String,
    },
    /// The PIN was not tried: a wrong one would cost too much.
    #[error("the PIN of the token `{token}` was not tried: {risk}")]
    PinNotTried {
        /// The token.
        token: String,
        /// What a wrong one would do.
        risk: PinRisk,
    },
    /// No key is called so.
    #[error("the token `{token}` has no {what} `{key}`")]
    NoKey {
        /// The token.
        token: String,
        /// A private key, its public key, or a secret key.
        what: &'static str,
        /// What it should be called.
        key: String,
    },
    /// Several keys are called so.
    #[error("the token `{token}` has {number} keys `{key}`")]
    SeveralKeys {
        /// The token.
        token: String,
        /// What they are called.
        key: String,
        /// How many there are.
        number: usize,
    },
    /// A new key would be called as one that is there.
    #[error("the token `{token}` has a key `{key}` already")]
    KeyExists {
        /// The token.
        token: String,
        /// What it is called.
        key: String,
    },
    /// The key is of no kind that is used here.
    #[error("the key `{key}` in the token `{token}` cannot be used: {why}")]
    Unfit {
        /// The token.
        token: String,
        /// The key.
        key: String,
        /// What it is, and what it should be.
        why: String,
    },
    /// The module cannot do what is asked.
    #[error("the token `{token}` does not offer {mechanism}")]
    Lacking {
        /// The token.
        token: String,
        /// The mechanism, as PKCS#11 calls it.
        mechanism: &'static str,
    },
    /// The token is gone. It is looked for again from time to time.
    #[error("the token `{token}` is out of reach: {cause}")]
    Lost {
        /// The token.
        token: String,
        /// What was seen when it went.
        cause: String,
    },
    /// More is asked than the token answers.
    #[error("the token `{token}` is busy: {waiting} requests wait")]
    Busy {
        /// The token.
        token: String,
        /// The length of the queue.
        waiting: usize,
    },
    /// The token gave no answer in time.
    #[error("the token `{token}` has not answered for {seconds} seconds")]
    Silent {
        /// The token.
        token: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// What was sealed does not open with this key.
    #[error("the key `{key}` in the token `{token}` does not open this")]
    Unsealable {
        /// The token.
        token: String,
        /// The key.
        key: String,
    },
    /// The module said no.
    #[error("the token `{token}` failed: {code}")]
    Failed {
        /// The token.
        token: String,
        /// The function and the module's word.
        code: String,
    },
}

/// Why a PIN is not even tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PinRisk {
    /// `CKF_USER_PIN_COUNT_LOW`: somebody gave a wrong one since the last good one.
    #[error(
        "a wrong one was given since the last good one, and further wrong ones lock the token; log in once by other means"
    )]
    CountLow,
    /// `CKF_USER_PIN_FINAL_TRY`: one more locks the token.
    #[error("one more wrong one locks the token; log in once by other means")]
    FinalTry,
    /// `CKF_USER_PIN_LOCKED`: it is locked.
    #[error("it is locked; its security officer can set a new one")]
    Locked,
    /// The token refused this very PIN before.
    #[error("the token refused it before, and the file still holds the same one")]
    RefusedBefore,
}
