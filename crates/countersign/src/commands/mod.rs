//! The commands of an operator: each asks a running gateway over its Unix socket and shows the answer. `key` and `token` need none.

mod attest;
mod check_config;
mod client;
mod hsm;
mod input;
mod key;
mod secret_file;
mod serve;
mod show;
mod table;
mod token;

use std::path::{Path, PathBuf};

use http::Method;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::attest::attest;
use self::client::Client;
pub(crate) use self::client::CommandError;
pub(crate) use self::hsm::hsm;
pub(crate) use self::key::key;
use self::secret_file::SecretFile;
pub(crate) use self::serve::{agent, gateway};
use self::show::Show;
pub(crate) use self::token::token;
use crate::audit::Operator;
use crate::backup::{self, Passphrase, RestoreTarget};
use crate::cli::{
    AgentsCommand, CertificatesCommand, ExceptionsCommand, Format, GatewaySocket, Grant,
    GrantsCommand, IdentityCommand, JoinStringCommand, Operate, ServicesCommand, SessionsCommand,
    SessionsOptions, StageCommand, TokensCommand,
};
use crate::config::GatewayConfig;
use crate::identity::PublishedKeys;
use crate::operator::{
    AgentRevoked, Agents, AllowEkRequest, AllowedEk, AllowedEks, BackupDone, BackupRequest,
    CertificateRenewal, Certificates, EkForbidden, Exception, ExceptionEnded, ExceptionRequest,
    Exceptions, GrantChanged, GrantRequest, Grants, JoinStringCreated, JoinStringRequest, Refused,
    RevokeRequest, Services, SessionClosed, Sessions, Stages, TokenIssued, TokenRequest,
    TokenRevoked, Tokens, TpmJoinString,
};
use crate::report::Failure;

/// `countersign join-string …`.
pub(crate) async fn join_string(
    options: Operate<JoinStringCommand>,
    format: Format,
) -> Result<(), Failure> {
    let gateway = Asked::of(&options.gateway, format)?;
    let JoinStringCommand::Create {
        name,
        expires_in,
        replace,
        address,
        output,
    } = options.command
    else {
        return gateway.get::<TpmJoinString>("/join-strings/tpm").await;
    };
    let request = JoinStringRequest {
        name,
        expires_in: expires_in.as_secs().max(1),
        replace,
        address: address.map(|address| address.to_string()),
    };
    gateway
        .post_for_secret(
            "/join-strings",
            &request,
            output.as_deref(),
            |created: &JoinStringCreated| &created.join_string,
        )
        .await
}

/// `countersign agents …`.
pub(crate) async fn agents(options: Operate<AgentsCommand>, format: Format) -> Result<(), Failure> {
    let gateway = Asked::of(&options.gateway, format)?;
    match options.command {
        AgentsCommand::List => gateway.get::<Agents>("/agents").await,
        AgentsCommand::Revoke { name, reason } => {
            let path = format!("/agents/{}/revoke", client::escaped(&name));
            gateway
                .post::<AgentRevoked>(&path, &RevokeRequest { reason })
                .await
        }
        AgentsCommand::AllowEk { hash, name } => {
            let request = AllowEkRequest {
                ek_hash: hash,
                name,
            };
            gateway.post::<AllowedEk>("/eks", &request).await
        }
        AgentsCommand::ForbidEk { hash } => {
            let path = format!("/eks/{}", client::escaped(&hash));
            gateway
                .ask::<EkForbidden>(Method::DELETE, &path, None)
                .await
        }
        AgentsCommand::ListEks => gateway.get::<AllowedEks>("/eks").await,
    }
}

/// `countersign grants …`.
pub(crate) async fn grants(options: Operate<GrantsCommand>, format: Format) -> Result<(), Failure> {
    let gateway = Asked::of(&options.gateway, format)?;
    match options.command {
        GrantsCommand::List => gateway.get::<Grants>("/grants").await,
        GrantsCommand::Add(Grant { principal, service }) => {
            gateway
                .post::<GrantChanged>("/grants", &GrantRequest { principal, service })
                .await
        }
        GrantsCommand::Remove(Grant { principal, service }) => {
            let (principal, service) = (client::escaped(&principal), client::escaped(&service));
            let path = format!("/grants?principal={principal}&service={service}");
            gateway
                .ask::<GrantChanged>(Method::DELETE, &path, None)
                .await
        }
    }
}

/// `countersign tokens …`.
pub(crate) async fn tokens(options: Operate<TokensCommand>, format: Format) -> Result<(), Failure> {
    let gateway = Asked::of(&options.gateway, format)?;
    match options.command {
        TokensCommand::List => gateway.get::<Tokens>("/tokens").await,
        TokensCommand::Issue {
            service,
            subject,
            expires_in,
            output,
        } => {
            let request = TokenRequest {
                service,
                subject,
                expires_in: expires_in.as_secs().max(1),
            };
            gateway
                .post_for_secret(
                    "/tokens",
                    &request,
                    output.as_deref(),
                    |issued: &TokenIssued| &issued.token,
                )
                .await
        }
        TokensCommand::Revoke { id, reason } => {
            let path = format!("/tokens/{}/revoke", client::escaped(&id));
            gateway
                .post::<TokenRevoked>(&path, &RevokeRequest { reason })
                .await
        }
    }
}

/// `countersign sessions …`.
pub(crate) async fn sessions(options: SessionsOptions, format: Format) -> Result<(), Failure> {
    let gateway = Asked::of(&options.gateway, format)?;
    match options.command {
        Some(SessionsCommand::Close { id }) => {
            let path = format!("/sessions/{}/close", client::escaped(&id));
            gateway
                .ask::<SessionClosed>(Method::POST, &path, None)
                .await
        }
        Some(SessionsCommand::List { refused: true }) => {
            gateway.get::<Refused>("/sessions/refused").await
        }
        _ if options.refused => gateway.get::<Refused>("/sessions/refused").await,
        _ => gateway.get::<Sessions>("/sessions").await,
    }
}

/// `countersign services …`.
pub(crate) async fn services(
    options: Operate<ServicesCommand>,
    format: Format,
) -> Result<(), Failure> {
    let ServicesCommand::List = options.command;
    Asked::of(&options.gateway, format)?
        .get::<Services>("/services")
        .await
}

/// `countersign exceptions …`.
pub(crate) async fn exceptions(
    options: Operate<ExceptionsCommand>,
    format: Format,
) -> Result<(), Failure> {
    let gateway = Asked::of(&options.gateway, format)?;
    match options.command {
        ExceptionsCommand::List => gateway.get::<Exceptions>("/exceptions").await,
        ExceptionsCommand::Add {
            owner,
            reason,
            ends,
            source,
            sni,
            listener,
        } => {
            let request = ExceptionRequest {
                owner,
                reason,
                ends,
                source,
                sni,
                listener,
            };
            gateway.post::<Exception>("/exceptions", &request).await
        }
        ExceptionsCommand::End { id } => {
            let path = format!("/exceptions/{}/end", client::escaped(&id));
            gateway
                .ask::<ExceptionEnded>(Method::POST, &path, None)
                .await
        }
    }
}

/// `countersign identity …`.
pub(crate) async fn identity(
    options: Operate<IdentityCommand>,
    format: Format,
) -> Result<(), Failure> {
    let IdentityCommand::Keys = options.command;
    Asked::of(&options.gateway, format)?
        .get::<PublishedKeys>("/identity/keys")
        .await
}

/// `countersign certificates …`.
pub(crate) async fn certificates(
    options: Operate<CertificatesCommand>,
    format: Format,
) -> Result<(), Failure> {
    let gateway = Asked::of(&options.gateway, format)?;
    match options.command {
        CertificatesCommand::List => gateway.get::<Certificates>("/certificates").await,
        CertificatesCommand::Renew { name } => {
            let path = format!("/certificates/{}/renew", client::escaped(&name));
            gateway
                .ask::<CertificateRenewal>(Method::POST, &path, None)
                .await
        }
    }
}

/// `countersign stage …`.
pub(crate) async fn stage(options: Operate<StageCommand>, format: Format) -> Result<(), Failure> {
    let StageCommand::Show = options.command;
    Asked::of(&options.gateway, format)?
        .get::<Stages>("/stage")
        .await
}

/// `countersign backup create`.
pub(crate) async fn backup_create(
    gateway: &GatewaySocket,
    file: &Path,
    passphrase_file: &Path,
    format: Format,
) -> Result<(), Failure> {
    let request = BackupRequest {
        file: absolute(file)?,
        passphrase_file: absolute(passphrase_file)?,
    };
    Asked::of(gateway, format)?
        .post::<BackupDone>("/backup", &request)
        .await
}

/// `countersign backup restore`.
///
/// # Errors
///
/// The backup does not open, or there is a state already.
pub(crate) async fn backup_restore(
    file: &Path,
    config: &Path,
    passphrase_file: &Path,
    format: Format,
) -> Result<(), Failure> {
    let config = GatewayConfig::read(config)?;
    let target = RestoreTarget {
        trust_domain: config.trust_domain,
        store_file: config.store_file,
        root_key_file: config.root_key_file,
        audit_file: config.audit.file,
    };
    let passphrase = Passphrase::read(passphrase_file)?;
    let operator = Operator {
        uid: rustix::process::getuid().as_raw(),
    };
    let done = backup::restore(file, passphrase, &target, operator, Timestamp::now()).await?;
    Ok(show::print(&done, format)?)
}

/// A gateway, and how its answers are shown.
struct Asked {
    client: Client,
    format: Format,
}

impl Asked {
    fn of(gateway: &GatewaySocket, format: Format) -> Result<Self, Failure> {
        Ok(Self {
            client: Client::find(gateway)?,
            format,
        })
    }

    async fn get<A: DeserializeOwned + Show>(&self, path: &str) -> Result<(), Failure> {
        self.ask::<A>(Method::GET, path, None).await
    }

    async fn post<A: DeserializeOwned + Show>(
        &self,
        path: &str,
        request: &(impl Serialize + Sync),
    ) -> Result<(), Failure> {
        let body = serde_json::to_string(request).expect("our own requests are JSON");
        self.ask::<A>(Method::POST, path, Some(body)).await
    }

    /// Asks for something secret, and shows it or puts it into a new file.
    async fn post_for_secret<A: DeserializeOwned + Show>(
        &self,
        path: &str,
        request: &(impl Serialize + Sync),
        output: Option<&Path>,
        secret: fn(&A) -> &str,
    ) -> Result<(), Failure> {
        let Some(output) = output else {
            return self.post::<A>(path, request).await;
        };
        // The file first: a secret that cannot be kept is not made.
        let file = SecretFile::create(output)?;
        let body = serde_json::to_string(request).expect("our own requests are JSON");
        let (made, _) = match self.fetch::<A>(Method::POST, path, Some(body)).await {
            Ok(answer) => answer,
            Err(failure) => {
                file.remove();
                return Err(failure);
            }
        };
        file.write(secret(&made))?;
        show::remark(&made);
        Ok(())
    }

    async fn ask<A: DeserializeOwned + Show>(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<(), Failure> {
        let (read, answer) = self.fetch::<A>(method, path, body).await?;
        match self.format {
            Format::Text => show::text(&read)?,
            Format::Json => show::json(&answer)?,
        }
        Ok(())
    }

    /// The answer, read and as it came: it is read in both formats, so that what is shown is an answer and not whatever
    /// listens there.
    async fn fetch<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<(A, serde_json::Value), Failure> {
        let answer = self.client.ask(method, path, body).await?;
        let read = serde_json::from_value(answer.clone()).map_err(CommandError::Answer)?;
        Ok((read, answer))
    }
}

/// The gateway has another working directory.
fn absolute(path: &Path) -> Result<PathBuf, CommandError> {
    std::path::absolute(path).map_err(|source| CommandError::Path {
        path: path.to_owned(),
        source,
    })
}
