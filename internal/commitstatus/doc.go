// Package commitstatus tells a Git host what became of a commit, so that it is seen where the commit was made.
//
// In: an Application, and how its host is reached. Out: one request in the form that GitHub, GitLab or Gitea documents: pending while the commit is on its
// way, success once it is applied and healthy, failure when it was refused, stopped, was rolled back or does not work.
//
// What is to be said is a function of the Application's status alone (Of). Saying it again changes nothing at the host, so nothing is kept. It never follows a
// redirect, which would carry the token somewhere else, and never puts the token into an error.
package commitstatus
