//! What a TPM says when it refuses, in words (Part 2, section 6.6).

use std::fmt;

/// A response code other than success.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResponseCode(u32);

/// What a response code is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The parameter with this number, from 1.
    Parameter(u8),
    /// The handle with this number, from 1.
    Handle(u8),
    /// The session with this number, from 1.
    Session(u8),
    /// The command as a whole.
    Command,
}

impl ResponseCode {
    pub(crate) const INITIALIZE: Self = Self(0x100);
    pub(crate) const NEEDS_TEST: Self = Self(0x153);
    pub(crate) const LOCKOUT: Self = Self(0x921);
    pub(crate) const POLICY_FAIL: Self = Self(0x09d);
    pub(crate) const INTEGRITY: Self = Self(0x09f);
    pub(crate) const HANDLE: Self = Self(0x08b);
    pub(crate) const BAD_AUTH: Self = Self(0x0a2);
    pub(crate) const AUTH_FAIL: Self = Self(0x08e);
    pub(crate) const VALUE: Self = Self(0x084);
    const OBJECT_MEMORY: Self = Self(0x902);
    const SESSION_MEMORY: Self = Self(0x903);
    const YIELDED: Self = Self(0x908);
    const TESTING: Self = Self(0x90a);
    const NV_RATE: Self = Self(0x920);
    const RETRY: Self = Self(0x922);

    pub(crate) fn new(code: u32) -> Option<Self> {
        (code != 0).then_some(Self(code))
    }

    /// The code as the TPM sent it.
    pub fn value(self) -> u32 {
        self.0
    }

    /// The error alone, without which parameter, handle or session it is about.
    pub(crate) fn kind(self) -> Self {
        match self.0 & FORMAT_ONE {
            0 => Self(self.0 & 0xfff),
            _ => Self(self.0 & 0x0bf),
        }
    }

    /// What it is about.
    pub fn subject(self) -> Subject {
        if self.0 & FORMAT_ONE == 0 {
            return Subject::Command;
        }
        let [.., high, low] = self.0.to_be_bytes();
        match (low & 0x40 != 0, high & 0x0f) {
            (_, 0) => Subject::Command,
            (true, number) => Subject::Parameter(number),
            (false, number) if number & 0x8 != 0 => Subject::Session(number & 0x7),
            (false, number) => Subject::Handle(number),
        }
    }

    /// Its name in Part 2, section 6.6.3, without `TPM_RC_`. Nothing for a vendor's own.
    pub fn name(self) -> Option<&'static str> {
        NAMES
            .iter()
            .find(|(code, ..)| *code == self.kind().0)
            .map(|(_, name, _)| *name)
    }

    /// Whether the same command may succeed a moment later.
    pub(crate) fn is_busy(self) -> bool {
        [Self::RETRY, Self::TESTING, Self::YIELDED, Self::NV_RATE].contains(&self.kind())
    }

    /// Whether other programs, or one that was killed, left no room for objects or sessions.
    pub(crate) fn is_full(self) -> bool {
        [Self::OBJECT_MEMORY, Self::SESSION_MEMORY].contains(&self.kind())
    }

    fn words(self) -> Option<&'static str> {
        let found = NAMES.iter().find(|(code, ..)| *code == self.kind().0);
        found.map(|(.., words)| *words)
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.words(), self.name()) {
            (Some(words), Some(name)) => write!(f, "{words} (TPM_RC_{name}")?,
            _ => write!(f, "a code of its maker (0x{:03x}", self.0)?,
        }
        match self.subject() {
            Subject::Parameter(number) => write!(f, ", parameter {number})"),
            Subject::Handle(number) => write!(f, ", handle {number})"),
            Subject::Session(number) => write!(f, ", session {number})"),
            Subject::Command => write!(f, ")"),
        }
    }
}

impl fmt::Debug for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseCode(0x{:03x})", self.0)
    }
}

/// Bit 7: the code has a number of a parameter, handle or session in it.
const FORMAT_ONE: u32 = 0x80;

const NAMES: &[(u32, &str, &str)] = &[
    (
        0x081,
        "ASYMMETRIC",
        "the asymmetric algorithm is not supported or not right",
    ),
    (0x082, "ATTRIBUTES", "the attributes do not fit"),
    (
        0x083,
        "HASH",
        "the hash algorithm is not supported or not right",
    ),
    (0x084, "VALUE", "a value is out of range or not right"),
    (
        0x085,
        "HIERARCHY",
        "the hierarchy is not enabled or not right",
    ),
    (0x087, "KEY_SIZE", "the key size is not supported"),
    (
        0x088,
        "MGF",
        "the mask generation function is not supported",
    ),
    (0x089, "MODE", "the mode of operation is not supported"),
    (0x08a, "TYPE", "the type is not right"),
    (0x08b, "HANDLE", "the handle is not right for this"),
    (0x08c, "KDF", "the key derivation function is not supported"),
    (0x08d, "RANGE", "a value is out of the allowed range"),
    (
        0x08e,
        "AUTH_FAIL",
        "the authorization is wrong, and was counted as a failed try",
    ),
    (0x08f, "NONCE", "the nonce is not right"),
    (0x090, "PP", "physical presence is needed"),
    (0x092, "SCHEME", "the scheme is not supported or not right"),
    (0x095, "SIZE", "a structure has the wrong size"),
    (
        0x096,
        "SYMMETRIC",
        "the symmetric algorithm or key size is not supported",
    ),
    (0x097, "TAG", "a structure has the wrong tag"),
    (0x098, "SELECTOR", "a selector of a union is not right"),
    (
        0x09a,
        "INSUFFICIENT",
        "the command is shorter than its values say",
    ),
    (0x09b, "SIGNATURE", "the signature is not valid"),
    (0x09c, "KEY", "the key does not fit this use"),
    (0x09d, "POLICY_FAIL", "the policy does not hold"),
    (
        0x09f,
        "INTEGRITY",
        "what was loaded is not this TPM's, or was altered",
    ),
    (0x0a0, "TICKET", "the ticket is not valid"),
    (0x0a1, "RESERVED_BITS", "reserved bits are set"),
    (0x0a2, "BAD_AUTH", "the authorization is wrong"),
    (0x0a3, "EXPIRED", "the policy has expired"),
    (0x0a4, "POLICY_CC", "the policy is for another command"),
    (
        0x0a5,
        "BINDING",
        "the public and the private part do not belong together",
    ),
    (0x0a6, "CURVE", "the curve is not supported"),
    (0x0a7, "ECC_POINT", "the point is not on its curve"),
    (0x100, "INITIALIZE", "it was not started, or it was already"),
    (
        0x101,
        "FAILURE",
        "it is in failure mode: its self-test failed",
    ),
    (
        0x103,
        "SEQUENCE",
        "a sequence handle is not used as it should be",
    ),
    (0x10b, "PRIVATE", "the private part is not right"),
    (0x119, "HMAC", "the HMAC is not right"),
    (0x120, "DISABLED", "the command is disabled"),
    (0x121, "EXCLUSIVE", "an audit session demands exclusiveness"),
    (0x124, "AUTH_TYPE", "the kind of authorization does not fit"),
    (0x125, "AUTH_MISSING", "an authorization is missing"),
    (0x126, "POLICY", "the policy command failed"),
    (0x127, "PCR", "the PCR check failed"),
    (
        0x128,
        "PCR_CHANGED",
        "a PCR changed since the policy checked it",
    ),
    (
        0x12d,
        "UPGRADE",
        "it is in the middle of a firmware upgrade",
    ),
    (
        0x12e,
        "TOO_MANY_CONTEXTS",
        "it holds too many saved contexts",
    ),
    (
        0x12f,
        "AUTH_UNAVAILABLE",
        "the authorization is not available for this",
    ),
    (0x130, "REBOOT", "it needs a restart of the machine"),
    (
        0x131,
        "UNBALANCED",
        "the key's algorithms differ too much in strength",
    ),
    (
        0x142,
        "COMMAND_SIZE",
        "the command's size is not what its header says",
    ),
    (0x143, "COMMAND_CODE", "it does not know the command"),
    (0x144, "AUTHSIZE", "the authorizations have the wrong size"),
    (0x145, "AUTH_CONTEXT", "this command takes no authorization"),
    (0x146, "NV_RANGE", "the range is outside of the NV index"),
    (0x147, "NV_SIZE", "the NV index has the wrong size"),
    (0x148, "NV_LOCKED", "the NV index is locked"),
    (
        0x149,
        "NV_AUTHORIZATION",
        "the NV index needs another authorization",
    ),
    (0x14a, "NV_UNINITIALIZED", "the NV index was never written"),
    (0x14b, "NV_SPACE", "there is no room in its NV memory"),
    (
        0x14c,
        "NV_DEFINED",
        "the NV index or the persistent handle is taken",
    ),
    (0x150, "BAD_CONTEXT", "the saved context is not valid"),
    (0x151, "CPHASH", "the policy is for other parameters"),
    (0x152, "PARENT", "the handle is no parent's"),
    (0x153, "NEEDS_TEST", "it must test itself first"),
    (0x154, "NO_RESULT", "the number is too large for it"),
    (0x155, "SENSITIVE", "the sensitive part is not right"),
    (0x901, "CONTEXT_GAP", "its context counter has run too far"),
    (0x902, "OBJECT_MEMORY", "it has no room for another object"),
    (
        0x903,
        "SESSION_MEMORY",
        "it has no room for another session",
    ),
    (0x904, "MEMORY", "it is out of memory"),
    (
        0x905,
        "SESSION_HANDLES",
        "it has no handle for another session",
    ),
    (
        0x906,
        "OBJECT_HANDLES",
        "it has no handle for another object",
    ),
    (0x907, "LOCALITY", "the locality is not right"),
    (0x908, "YIELDED", "it broke off to be asked again"),
    (0x909, "CANCELED", "the command was cancelled"),
    (0x90a, "TESTING", "it is testing itself"),
    (
        0x910,
        "REFERENCE_H0",
        "the first handle names nothing that is loaded",
    ),
    (
        0x911,
        "REFERENCE_H1",
        "the second handle names nothing that is loaded",
    ),
    (
        0x912,
        "REFERENCE_H2",
        "the third handle names nothing that is loaded",
    ),
    (0x918, "REFERENCE_S0", "the first session is not loaded"),
    (0x919, "REFERENCE_S1", "the second session is not loaded"),
    (0x91a, "REFERENCE_S2", "the third session is not loaded"),
    (0x920, "NV_RATE", "it holds back writes to spare its memory"),
    (0x921, "LOCKOUT", "it is locked after too many failed tries"),
    (0x922, "RETRY", "it could not start the command"),
    (0x923, "NV_UNAVAILABLE", "its NV memory is not accessible"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: u32, expected: &str) {
        assert_eq!(ResponseCode::new(code).unwrap().to_string(), expected);
    }

    #[test]
    fn a_wrong_password_names_its_session() {
        check(
            0x9a2,
            "the authorization is wrong (TPM_RC_BAD_AUTH, session 1)",
        );
    }

    #[test]
    fn a_wrong_parameter_has_its_number() {
        check(
            0x1d5,
            "a structure has the wrong size (TPM_RC_SIZE, parameter 1)",
        );
        check(
            0xfc4,
            "a value is out of range or not right (TPM_RC_VALUE, parameter 15)",
        );
    }

    #[test]
    fn a_wrong_handle_has_its_number() {
        check(
            0x28b,
            "the handle is not right for this (TPM_RC_HANDLE, handle 2)",
        );
    }

    #[test]
    fn what_is_about_the_whole_command_has_no_number() {
        check(
            0x921,
            "it is locked after too many failed tries (TPM_RC_LOCKOUT)",
        );
        check(0x09d, "the policy does not hold (TPM_RC_POLICY_FAIL)");
    }

    #[test]
    fn a_makers_own_code_is_shown_as_a_number() {
        check(0x5ff & !0x80, "a code of its maker (0x57f)");
    }

    #[test]
    fn the_kernels_layer_does_not_hide_the_name() {
        check(
            0x000b_0143,
            "it does not know the command (TPM_RC_COMMAND_CODE)",
        );
    }

    #[test]
    fn every_code_is_put_into_words() {
        for code in (1..=0xfff).chain([u32::MAX]) {
            assert!(!ResponseCode::new(code).unwrap().to_string().is_empty());
        }
    }
}
