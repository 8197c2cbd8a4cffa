//! Formats Nix files in place; with --check changes none and fails when one would change.

use alejandra::format::{in_fs, Status};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut check = false;
    let mut code = ExitCode::SUCCESS;
    for argument in std::env::args().skip(1) {
        if argument == "--check" {
            check = true;
            continue;
        }
        match in_fs(argument.clone(), !check) {
            Status::Changed(false) => {}
            Status::Changed(true) if check => {
                println!("{argument}: would be formatted");
                code = ExitCode::FAILURE;
            }
            Status::Changed(true) => println!("{argument}: formatted"),
            Status::Error(error) => {
                println!("{argument}: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
