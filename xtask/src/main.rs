mod ebpf;
fn main() -> anyhow::Result<()> {
    ebpf::build(std::env::args().any(|a| a == "--check"))
}
