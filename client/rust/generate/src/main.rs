//! Writes the modules of `gen/` from the descriptor set of the protos.
//!
//! Usage: `generate DESCRIPTOR_SET OUT`. Needs no `protoc`; `make generate` runs it.

use std::{env, error::Error, fs, path::Path};

use prost::Message;
use prost_types::FileDescriptorSet;

/// What the header of each file says, before what prost writes.
const HEADER: &str = "// Generated from protos/clients.binpb by `make -C client/rust generate`. Do not edit.\n";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [descriptor_set, out] = arguments.as_slice() else {
        return Err("usage: generate DESCRIPTOR_SET OUT".into());
    };
    let mut files = FileDescriptorSet::decode(fs::read(descriptor_set)?.as_slice())?;
    for file in files.file.iter_mut().filter(|file| file.package() == "google.rpc") {
        // Its comments have examples, which rustdoc would take for code of Rust.
        file.source_code_info = None;
    }
    fs::create_dir_all(out)?;
    tonic_prost_build::configure()
        .build_server(false)
        // Maps in order, like those of the client, which are then made of them without sorting.
        .btree_map(".")
        .build_transport(false)
        .out_dir(out)
        .compile_fds(files)?;
    for file in fs::read_dir(out)? {
        add_header(&file?.path())?;
    }
    Ok(())
}

fn add_header(path: &Path) -> Result<(), Box<dyn Error>> {
    let text = fs::read_to_string(path)?;
    fs::write(path, format!("{HEADER}{text}"))?;
    Ok(())
}
