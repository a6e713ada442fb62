//! TLS: files of certificates, and what failed handshakes mean.

use std::{path::Path, sync::Arc};

use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, CertificateError, ClientConfig, RootCertStore,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::error::{Error, Reason, Result};

/// Makes connections over TLS, with the authorities of a file or the system's, and the certificate of the caller, if
/// any.
pub(crate) fn connector(ca: Option<&Path>, identity: Option<(&Path, &Path)>) -> Result<TlsConnector> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| config("TLS cannot be used", error))?
        .with_root_certificates(authorities(ca)?);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, error))?;
            builder.with_client_auth_cert(certificates(cert)?, private).map_err(|error| {
                self::config(&format!("{} and {} do not belong together", cert.display(), key.display()), error)
            })?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn authorities(ca: Option<&Path>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(ca) = ca else {
        // Systems have certificates that cannot be read; what matters is whether that of the server can be.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| unreadable(ca, error))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
    match found {
        Ok(found) if found.is_empty() => {
            Err(Error::new(Reason::Config, format!("{} has no certificate in PEM", path.display())))
        }
        Ok(found) => Ok(found),
        Err(error) => Err(unreadable(path, error)),
    }
}

fn unreadable(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    config(&format!("{} cannot be read", path.display()), error)
}

fn config(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(Reason::Config, format!("{what}: {error}")).with_source(error)
}

/// What a failed handshake, or the end of a connection right after it, means in words; none if it is not TLS that
/// failed.
pub(crate) fn words(error: &std::io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidMessage(_) => "it does not use TLS; without TLS its address begins with grpc:".to_owned(),
        rustls::Error::InvalidCertificate(why) => certificate_words(why),
        rustls::Error::AlertReceived(alert) => {
            format!(
                "it ended the TLS handshake ({alert:?}); it may demand a certificate of an authority that it trusts"
            )
        }
        other => other.to_string(),
    })
}

fn certificate_words(why: &CertificateError) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; do the clocks agree?".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another host".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not for a server".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "its certificate is not of an authority that is trusted here; name its file with ca".to_owned()
        }
        other => format!("its certificate cannot be trusted: {other}"),
    }
}
