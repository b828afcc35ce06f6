// Demo shows the whole story on a cluster of its own, each step with its duration: from a push to users' answers, and through every
// kind of trouble. It cleans up after itself, also when it is interrupted, and fails when any step is not as promised.
package main
