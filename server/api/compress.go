package api

import (
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
)

// compress sends lists as gzip to clients that take it, from a size on where it pays.
func compress(next echo.HandlerFunc) echo.HandlerFunc {
	return gzipped(next)
}

var gzipped = middleware.GzipWithConfig(middleware.GzipConfig{Level: 5, MinLength: 2048})
