// Package gittest gives tests a Git repository to push to, and servers that show it over http and ssh on loopback.
//
// In: files, as a map from path to content. Out: commit hashes and URLs. It writes only below the test's own temporary directory.
package gittest
