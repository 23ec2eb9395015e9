# perl file_calls.pl NAME DIR [frozen]: reads, writes and syncs a file of that directory, by a process of that name. Then, if
# the file system is to be frozen, it stands still for 0.3 s while process frozen_io writes.
my ($name, $dir, $is_frozen) = @ARGV;
$0 = $name;
open my $out, '+>', "$dir/file" or die;
syswrite $out, 'x' x 4096 for 1 .. 30;
# fsync by number; what it gets must be a variable.
my $fd = fileno $out;
syscall 74, $fd for 1 .. 5;
open my $in, '<', "$dir/file" or die;
my $got;
sysread $in, $got, 4096 for 1 .. 31;
my $in_fd = fileno $in;
syscall 1, $in_fd, $got, 1;
# FIFREEZE, FITHAW: in between writes stand still.
if ($is_frozen) {
    pipe my $ready, my $go or die;
    my $child = fork;
    if (!$child) {
        $0 = 'frozen_io';
        sysread $ready, $got, 1;
        syswrite $out, 'y' x 4096;
        exit;
    }
    open my $root, '<', $dir or die;
    my $none = 0;
    ioctl $root, 0xc0045877, $none or die "freeze $!";
    syswrite $go, 'x';
    # The child stands still from when it sleeps there in the kernel until it is let go.
    my $where = '';
    for (1 .. 1000) {
        open my $f, '<', "/proc/$child/wchan" or die;
        $where = readline($f) // '';
        last if $where =~ /percpu_rwsem|sb_start_write/;
        select undef, undef, undef, 0.02;
    }
    $where =~ /percpu_rwsem|sb_start_write/ or die "not frozen but in $where";
    select undef, undef, undef, 0.3;
    ioctl $root, 0xc0045878, $none or die "thaw $!";
    waitpid $child, 0;
}
