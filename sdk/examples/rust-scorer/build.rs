// How the host accepts a library: nothing undefined, everything bound at load. Which symbols show
// is rustc's own version script: those that are #[no_mangle], here the entry alone.
fn main() {
    for option in [
        "-z,defs",
        "-z,now",
        "-z,relro",
        "-z,noexecstack",
        "--build-id",
    ] {
        println!("cargo:rustc-cdylib-link-arg=-Wl,{}", option);
    }
    println!("cargo:rerun-if-changed=build.rs");
}
