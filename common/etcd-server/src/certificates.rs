//! Certificates for a private cluster.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::launch::create_private;

/// Writes into `folder` the CA certificate (`ca.pem`), the certificates of the members and of the
/// client (`server.pem`, `client.pem`, each with its `.key`), and the certificate of a CA that
/// signed neither (`other.pem`).
pub(super) fn make(folder: &Path) -> Result<()> {
    let authority = || -> Result<_> {
        let mut params = CertificateParams::new([])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "etcd by example");
        let key = KeyPair::generate()?;
        Ok((params.self_signed(&key)?.pem(), Issuer::new(params, key)))
    };
    let ((ca, issuer), (other, _)) = (authority()?, authority()?);
    fs::write(folder.join("ca.pem"), ca)?;
    fs::write(folder.join("other.pem"), other)?;
    for name in ["server", "client"] {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        fs::write(folder.join(name).with_extension("pem"), params.signed_by(&key, &issuer)?.pem())?;
        let mut file = create_private(&folder.join(name).with_extension("key"))?;
        file.write_all(key.serialize_pem().as_bytes())?;
    }
    Ok(())
}
