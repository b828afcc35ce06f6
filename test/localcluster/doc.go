// Localcluster makes a whole cluster on this machine, each host a network namespace, and removes it again.
package main
