//! Stands in for the crate `tonic-prost-build`, whose name it uses, when etcd-client is built. That
//! crate would need an installed `protoc`; this crate uses Google's build, which cargo downloads.
//!
//! It generates the same code, except for comments. `same_code.rs` in the test suite proves this.

use std::io::Result;
use std::path::Path;

use prost_build::{Config, ServiceGenerator};
use tonic_build::{CodeGenBuilder, manual};

#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
use protoc_bin_vendored_linux_aarch_64 as bundled;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use protoc_bin_vendored_linux_x86_64 as bundled;
#[cfg(all(target_os = "macos", target_arch = "aarch64"))]
use protoc_bin_vendored_macos_aarch_64 as bundled;
#[cfg(all(target_os = "macos", target_arch = "x86_64"))]
use protoc_bin_vendored_macos_x86_64 as bundled;
#[cfg(windows)]
use protoc_bin_vendored_win32 as bundled;

/// The type of the same name in the real crate, with the methods that etcd-client calls.
pub struct Builder(Config);

/// Returns a builder, as the function of the same name in the real crate does.
pub fn configure() -> Builder {
    let mut config = Config::new();
    // On other platforms, prost uses $PROTOC or the protoc on the PATH.
    #[cfg(any(
        all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")),
        all(target_os = "macos", any(target_arch = "x86_64", target_arch = "aarch64")),
        windows
    ))]
    config.protoc_executable(bundled::protoc_bin_path());
    config.type_attribute(".", "#[allow(clippy::all)]").service_generator(Box::new(Clients));
    Builder(config)
}

impl Builder {
    /// Turns off the generation of servers, which this crate can't generate.
    ///
    /// # Panics
    ///
    /// `enable` is true.
    pub fn build_server(self, enable: bool) -> Builder {
        assert!(!enable, "this tonic-prost-build generates clients only");
        self
    }

    /// Generates the code for `protos`.
    ///
    /// # Errors
    ///
    /// protoc can't be run, or rejects the files.
    pub fn compile_protos<P: AsRef<Path>>(mut self, protos: &[P], includes: &[P]) -> Result<()> {
        self.0.compile_protos(protos, includes)
    }
}

/// Adds a client for each service to the code that prost generates.
struct Clients;

impl ServiceGenerator for Clients {
    fn generate(&mut self, service: prost_build::Service, code: &mut String) {
        let service = Service { methods: service.methods.iter().map(method).collect(), service };
        let client = CodeGenBuilder::new().generate_client(&service, "super");
        let client = syn::parse2(client).expect("tonic generates Rust");
        code.push_str(&prettyplease::unparse(&client));
    }
}

fn method(method: &prost_build::Method) -> manual::Method {
    let mut built = manual::Method::builder()
        .name(&method.name)
        .route_name(&method.proto_name)
        .input_type(format!("super::{}", method.input_type))
        .output_type(format!("super::{}", method.output_type))
        .codec_path("tonic_prost::ProstCodec");
    if method.client_streaming {
        built = built.client_streaming();
    }
    if method.server_streaming {
        built = built.server_streaming();
    }
    built.build()
}

/// A service of prost's, described as tonic needs it.
struct Service {
    service: prost_build::Service,
    methods: Vec<manual::Method>,
}

impl tonic_build::Service for Service {
    type Comment = String;
    type Method = manual::Method;

    fn name(&self) -> &str {
        &self.service.name
    }

    fn package(&self) -> &str {
        &self.service.package
    }

    fn identifier(&self) -> &str {
        &self.service.proto_name
    }

    fn methods(&self) -> &[manual::Method] {
        &self.methods
    }

    fn comment(&self) -> &[String] {
        &[]
    }
}
