package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
)

const useYourOwn = "With a cluster of your own there is no need for this one: KUBECONFIG=<its kubeconfig> make demo"

// checkHost refuses, in words that help, what this machine cannot run.
func checkHost(kind NodeKind) error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("the local cluster runs on Linux only, this is %s.\n%s", runtime.GOOS, useYourOwn)
	}
	if kind != NodeReal {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("a cluster with a real node needs root, to start containers. "+
			"Try `sudo env PATH=$PATH ...`; --node fake and --node none need no root.\n%s", useYourOwn)
	}
	for _, tool := range []string{"mount", "umount"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("the kubelet needs the command %q (package mount or util-linux)", tool)
		}
	}
	return nil
}

// ensureLibraries sees to the C libraries that runc is linked with.
func ensureLibraries(ctx context.Context) error {
	if haveLibraries() {
		return nil
	}
	_, err := exec.LookPath("apt-get")
	if err != nil || os.Geteuid() != 0 {
		return errors.New("runc needs a C compiler, pkg-config and the headers of libseccomp to be built.\n" +
			"On Debian or Ubuntu: sudo apt-get install gcc libc6-dev pkg-config libseccomp-dev\n" +
			"On Fedora: sudo dnf install gcc pkgconf libseccomp-devel")
	}
	done := showProgress("installing gcc, pkg-config and libseccomp-dev with apt-get")
	out, err := aptInstall(ctx, "gcc", "libc6-dev", "pkg-config", "libseccomp-dev")
	done(err)
	if err != nil {
		return fmt.Errorf("apt-get install libseccomp-dev: %w\n%s", err, lastLines(string(out), 20))
	}
	return nil
}

func haveLibraries() bool {
	if _, err := exec.LookPath("gcc"); err != nil {
		return false
	}
	return exec.Command("pkg-config", "--exists", "libseccomp").Run() == nil
}

func aptInstall(ctx context.Context, packages ...string) ([]byte, error) {
	install := func() ([]byte, error) {
		cmd := exec.CommandContext(ctx, "apt-get", append([]string{"install", "-y", "--no-install-recommends"}, packages...)...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		return cmd.CombinedOutput()
	}
	if out, err := install(); err == nil {
		return out, nil
	}
	// The lists of packages may be old or absent.
	if out, err := exec.CommandContext(ctx, "apt-get", "update").CombinedOutput(); err != nil {
		return out, err
	}
	return install()
}

// giveToSudoUser makes what sudo made belong to the user who called it, who may
// want to go on without sudo.
func giveToSudoUser(paths ...string) error {
	user, group := os.Getenv("SUDO_UID"), os.Getenv("SUDO_GID")
	if user == "" || group == "" || os.Geteuid() != 0 {
		return nil
	}
	uid, err := strconv.Atoi(user)
	if err != nil {
		return fmt.Errorf("SUDO_UID: %w", err)
	}
	gid, err := strconv.Atoi(group)
	if err != nil {
		return fmt.Errorf("SUDO_GID: %w", err)
	}
	for _, path := range paths {
		if err := os.Lchown(path, uid, gid); err != nil {
			return err
		}
	}
	return nil
}

// giveTreeToSudoUser does so with all that is in some folders of .local, too.
func giveTreeToSudoUser(dirs ...string) error {
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return giveToSudoUser(path)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
