from raypipe.jobs.questions import JOB

if __name__ == "__main__":
    JOB.main()
