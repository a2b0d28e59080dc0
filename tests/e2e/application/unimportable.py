"""An application whose import fails, as one does whose image lacks a package."""

import a_package_that_the_image_lacks  # type: ignore[import-not-found]  # noqa: F401
