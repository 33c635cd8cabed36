"""Components and the program under mocks."""
