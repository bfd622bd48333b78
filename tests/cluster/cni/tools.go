//go:build tools

// Package tools names the programs that setup.sh builds, so that go.mod and go.sum hold what they need.
package tools

import (
	_ "github.com/containernetworking/plugins/plugins/ipam/static"
	_ "github.com/containernetworking/plugins/plugins/main/bridge"
	_ "github.com/containernetworking/plugins/plugins/main/loopback"
)
