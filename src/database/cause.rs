//! Why a connection failed, in an operator's terms: what the system reports, or what is wrong with TLS.

use std::{error::Error, io};

use rustls::CertificateError;

use super::{Cause, reason};

const ROOT: &str =
    "set sslrootcert in database.url to the certificate of the authority that signed it";
const NAME: &str = "use a certificate whose subjectAltName contains the host in database.url";
const AGAIN: &str = "use a certificate as described in docs/supported.md#tls-to-postgresql";

/// Errors from rustls arrive as I/O errors of the connection.
pub(super) fn of_io(error: &io::Error) -> Cause {
    match error.get_ref().and_then(|it| it.downcast_ref::<rustls::Error>()) {
        Some(error) => of_rustls(error),
        None if error.kind() == io::ErrorKind::NotFound => Cause::Unreachable(
            "no such file: the server's socket, or a certificate file".to_owned(),
        ),
        None => Cause::Unreachable(reason(error)),
    }
}

pub(super) fn of_tls(error: &(dyn Error + Send + Sync + 'static)) -> Cause {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return of_rustls(error);
    }
    let (problem, remedy) = match error.to_string().as_str() {
        "server does not support TLS" => (
            "the server does not offer it",
            "turn on ssl in postgresql.conf, or change sslmode in database.url",
        ),
        _ => ("a certificate or a name cannot be read", AGAIN),
    };
    tls(problem, remedy)
}

fn tls(problem: impl Into<String>, remedy: &'static str) -> Cause {
    Cause::Tls { problem: problem.into(), remedy }
}

fn of_rustls(error: &rustls::Error) -> Cause {
    match error {
        rustls::Error::InvalidCertificate(error) => of_certificate(error),
        rustls::Error::AlertReceived(_) => {
            tls("the server ended the handshake", "see PostgreSQL's log for the reason")
        }
        rustls::Error::PeerIncompatible(_) => tls(
            "client and server have no TLS version or cipher in common",
            "enable TLS 1.2 or 1.3 on the server",
        ),
        _ => tls("the handshake broke off", "see PostgreSQL's log for the reason"),
    }
}

fn of_certificate(error: &CertificateError) -> Cause {
    match error {
        CertificateError::UnknownIssuer => {
            tls("the server's certificate is signed by an unknown authority", ROOT)
        }
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            tls("the server's certificate has no subjectAltName", NAME)
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            tls("the server's certificate is for another name", NAME)
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            tls("the server's certificate has expired", "renew it")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            tls("the server's certificate is not valid yet", "check the clocks of both machines")
        }
        CertificateError::BadSignature => {
            tls("a signature of the server's certificate is wrong", ROOT)
        }
        // rustls does not expose webpki's messages separately.
        other => match format!("{other:?}") {
            it if it.contains("UnsupportedCertVersion") => {
                tls("the server's certificate has version 1; version 3 is required", AGAIN)
            }
            it if it.contains("CaUsedAsEndEntity") => {
                tls("the server's certificate is a CA certificate (CA:TRUE)", AGAIN)
            }
            _ => tls("the server's certificate cannot be used", AGAIN),
        },
    }
}
