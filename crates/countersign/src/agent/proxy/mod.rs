//! Local proxies through which a program reaches every service by its name.

pub(crate) mod http;
pub(crate) mod socks;
