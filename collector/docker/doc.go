// Package docker follows the containers of a Docker engine through its API.
package docker
